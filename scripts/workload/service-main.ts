import { runService, type ServicePeers, type ServiceStart } from './service.js';

// A process of the workload: told what it is by the first message, and who the others are by the second.
const start = await new Promise<ServiceStart>((resolve) => process.once('message', (m) => resolve(m as ServiceStart)));
const peers = new Promise<ServicePeers>((resolve) => process.once('message', (m) => resolve(m as ServicePeers)));
const { port, stop } = await runService(start, peers);
process.send?.({ port });

let stopping = false;
async function end(): Promise<void> {
  if (stopping) return;
  stopping = true;
  setTimeout(() => process.exit(0), 3000).unref();
  await stop();
  process.exit(0);
}
process.on('SIGTERM', end);
// The terminal's Ctrl-C reaches the whole group; the parent decides when this process stops.
process.on('SIGINT', () => {});
process.on('disconnect', end);
