import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../../global/runtime/errors.js';
import { type BenchResult, markdownTable } from './bench-result.js';
import { BENCHMARKS } from './benchmarks.js';

/**
 * `npm run bench [-- NAME... [--json FILE]]`: runs the benchmarks, all or the named ones, one after the other; prints each table and
 * the machine, and writes everything as JSON. Exits 1 where a benchmark failed (a figure that was missed is told, not failed).
 */
const DEFAULT_JSON = 'dist/bench.json';

const names: string[] = [];
let jsonFile = DEFAULT_JSON;
const given = process.argv.slice(2);
while (given.length) {
  const word = given.shift()!;
  if (word === '--help') {
    console.log(`npm run bench [-- NAME... [--json FILE]]\nnames: ${Object.keys(BENCHMARKS).join(', ')}`);
    process.exit(0);
  }
  if (word === '--json') jsonFile = given.shift() ?? DEFAULT_JSON;
  else names.push(word);
}
const unknown = names.filter((name) => !(name in BENCHMARKS));
if (unknown.length) {
  console.error(`unknown benchmark ${unknown.join(', ')}; there are ${Object.keys(BENCHMARKS).join(', ')}`);
  process.exit(2);
}

const machine = {
  date: new Date().toISOString().slice(0, 10),
  cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  system: `${platform()} ${arch()}`,
  node: process.version,
};
console.log(`${machine.date}  ${machine.cpu}, ${machine.memory}, ${machine.system}, Node ${machine.node}\n`);

const results: BenchResult[] = [];
for (const name of names.length ? names : Object.keys(BENCHMARKS)) {
  console.log(`## ${name}`);
  try {
    const result = await BENCHMARKS[name]!();
    results.push(result);
    console.log(`(${result.requirements.join(', ')})\n\n${markdownTable(result)}\n`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED: ${messageOf(error)}\n`);
  }
}
const file = resolve(jsonFile);
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify({ machine, results }, null, 2)}\n`);
console.log(`as JSON: ${file}`);
process.exit();
