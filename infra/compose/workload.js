// The sample services of scripts/workload in one container: each sends its spans to the collector of its region, as endpoints.json says.
// GET /readyz on port 8081 answers 200 while all of them run.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createWorkload } from './dist/scripts/workload/workload.js';

const [file, perSecond = '2'] = process.argv.slice(2);
const { regions } = JSON.parse(readFileSync(file, 'utf8'));
let state = 'starting';
const workload = createWorkload({
  regions: Object.entries(regions).map(([region, { otlpHttp }]) => ({ region, otlpHttp })),
  requestsPerSecond: Number(perSecond),
  onExit: (service) => {
    console.error(`workload: service ${service} ended`);
    process.exit(1);
  },
});
const health = createServer((_request, response) => response.writeHead(state === 'up' ? 200 : 503).end(`${state}\n`));
health.listen(8081);
process.once('SIGTERM', async () => {
  state = 'stopping';
  await workload.stop();
  process.exit(0);
});
await workload.start();
state = 'up';
console.log(`workload: ${perSecond} requests a second in ${Object.keys(regions).join(', ')}`);
