import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../../global/runtime/errors.js';
import { enginesCache } from '../engines/maven-jars.js';
import { type BenchResult, markdownTable } from './bench-result.js';
import { EMBEDDED_BENCHMARKS, engineBenchmarks } from './benchmarks.js';
import { type BenchReport, mergeReport, reportMarkdown } from './report.js';

/**
 * `npm run bench [-- NAME...] [--engines embedded|local] [--json FILE] [--markdown FILE]`: runs the benchmarks, all or the named ones, one after the other; prints
 * each table and the machine, and joins the results into the JSON file (results of other benchmarks in it stay). Exits 1 where a
 * benchmark failed (a figure that was missed is told, not failed).
 */
const ENGINES = { embedded: EMBEDDED_BENCHMARKS, local: engineBenchmarks(enginesCache(process.env)) };
const ALL = { ...ENGINES.embedded, ...ENGINES.local };
const USAGE = `npm run bench [-- NAME...] [--engines embedded|local] [--json FILE] [--markdown FILE]
embedded (default): ${Object.keys(ENGINES.embedded).join(', ')}
local (needs Java 17, Maven and redis-server): ${Object.keys(ENGINES.local).join(', ')}
A named benchmark runs whatever its engines are.`;

const names: string[] = [];
let jsonFile = 'dist/bench.json';
let markdownFile: string | undefined;
let chosen = ENGINES.embedded;
const given = process.argv.slice(2);
while (given.length) {
  const word = given.shift()!;
  if (word === '--help') {
    console.log(USAGE);
    process.exit(0);
  }
  if (word === '--json') jsonFile = given.shift() ?? usage(`${word} needs a file`);
  else if (word === '--markdown') markdownFile = given.shift() ?? usage(`${word} needs a file`);
  else if (word === '--engines') {
    const kind = given.shift();
    if (kind !== 'embedded' && kind !== 'local') usage(`--engines: "${kind}" is neither embedded nor local`);
    chosen = ENGINES[kind];
  } else if (word in ALL) names.push(word);
  else usage(`unknown benchmark "${word}"`);
}

function usage(why: string): never {
  console.error(`${why}\n${USAGE}`);
  process.exit(2);
}

const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${arch()}, Node ${process.version}`;
const date = new Date().toISOString().slice(0, 10);
console.log(`${date}  ${machine}\n`);

const results: BenchResult[] = [];
for (const name of names.length ? names : Object.keys(chosen)) {
  console.log(`## ${name}`);
  try {
    const result = await ALL[name]!();
    results.push(result);
    console.log(`(${result.requirements.join(', ')})\n\n${markdownTable(result)}\n`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED: ${messageOf(error)}\n`);
  }
}
const order = Object.keys(ALL);
const report = mergeReport(
  readReport(jsonFile),
  results.map((result) => ({ date, machine, result })),
  order,
);
write(jsonFile, `${JSON.stringify(report, null, 2)}\n`);
if (markdownFile) write(markdownFile, reportMarkdown(report));
process.exit();

function readReport(file: string): BenchReport {
  try {
    return JSON.parse(readFileSync(resolve(file), 'utf8')) as BenchReport;
  } catch {
    return [];
  }
}

function write(file: string, text: string): void {
  mkdirSync(dirname(resolve(file)), { recursive: true });
  writeFileSync(resolve(file), text);
  console.log(`written: ${file}`);
}
