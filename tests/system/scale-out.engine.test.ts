import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { makeKnownTrace } from '../../scripts/cli/known-trace.js';
import { LocalEngines } from '../../scripts/engines/local-engines.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { freeEnginePortsOfRegions, freePorts } from '../../scripts/fleet/ports.js';
import { RegionPair } from './region-pair.js';
import { EAST, eventually } from './test-fleet.js';
import { type AcknowledgedTrace, seededIds } from './traffic.js';

/** Lo4, In2, Sc1 (docs/decisions/0014): one region in two whole processes, each of which goes and comes back, one in order and one by SIGKILL. */

const START_BUDGET_MS = 300_000;
const WHOLE_BUDGET_MS = 60_000;
/** What was acknowledged longer ago is in an answer that names nothing missing (`PEERED_LIVE_LIMITS.ageMsMax`, and the way of the answer). */
const DUE_MS = 6_000;
const PARTITION = /partition \d+ of spans/;

const dataDir = mkdtempSync(join(tmpdir(), 'meridian-scale-out-'));
let engines: LocalEngines | undefined;
let pair: RegionPair;

beforeAll(async () => {
  const [own, other] = await freePorts(2, Math.random);
  const [enginePorts] = await freeEnginePortsOfRegions(1, Math.random, [own!, other!]);
  engines = new LocalEngines({
    dataDir,
    cacheFolder: enginesCache(process.env),
    regions: [{ region: EAST, ports: enginePorts! }],
    clock: realClock,
    onProgress: () => {},
    onState: () => {},
  });
  await engines.prepare();
  await engines.startStores();
  pair = new RegionPair({ dataDir, region: EAST, engines: engines.at(EAST), ports: [own!, other!] });
  await pair.start();
}, START_BUDGET_MS);

afterAll(async () => {
  await pair?.stop();
  await engines?.stop();
  rmSync(dataDir, { recursive: true, force: true });
}, START_BUDGET_MS);

interface Acknowledged extends AcknowledgedTrace {
  readonly acknowledgedMs: number;
}

/** Sends traces to both collectors in turn, the spans of each trace to one; what is not acknowledged goes to the other. */
class Sender {
  readonly traces: Acknowledged[] = [];
  readonly #ids = seededIds(20261122);
  #running: Promise<void> = Promise.resolve();
  #sending = true;

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#sending = false;
    await this.#running;
  }

  /** Resolves when so many traces more are acknowledged. */
  async more(count: number): Promise<void> {
    const enough = this.traces.length + count;
    await eventually(`${count} more traces`, async () =>
      this.traces.length >= enough ? { value: true } : { failure: `${this.traces.length} of ${enough}` },
    );
  }

  async #run(): Promise<void> {
    for (let i = 0; this.#sending; i++) {
      const spanIds: string[] = [];
      const { traceId, spanCount, bodies } = makeKnownTrace({
        traceId: this.#ids(16),
        regions: ['a', 'b'],
        startUnixNano: realClock.nowUnixNano(),
        spanId: () => {
          spanIds.push(this.#ids(8));
          return spanIds.at(-1)!;
        },
      });
      // The two parts of a trace go to different processes.
      for (const [part, body] of [...bodies.values()].entries()) {
        let target = i + part;
        await eventually(`a part of ${traceId}`, async () => {
          const response = await pair.post(target++ % 2, body);
          const text = await response.text();
          return response.status === 200 ? { value: true } : { failure: `${response.status}: ${text}` };
        });
      }
      this.traces.push({ traceId, spanIds: spanIds.slice(0, spanCount), acknowledgedMs: realClock.monotonicMs() });
      await realClock.sleep(25);
    }
  }
}

/** Reads trace after trace without pause. */
class Reader {
  reads = 0;
  /** What answers named that were not whole, in order; those while the process that the router knows was away, apart. */
  readonly reasons: string[] = [];
  readonly reasonsAway: string[] = [];
  readonly wrong: string[] = [];
  #running: Promise<void> = Promise.resolve();
  #reading = true;

  constructor(private readonly sender: Sender) {}

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#reading = false;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { traces } = this.sender;
    for (let i = 0; this.#reading; i++) {
      // Every trace in turn, and in between the newest that must be there.
      const dueMs = realClock.monotonicMs() - DUE_MS;
      const due = traces.findLastIndex(({ acknowledgedMs }) => acknowledgedMs <= dueMs);
      const trace = traces[i % 2 ? i % (due + 1) : due];
      if (due < 0 || !trace) {
        await realClock.sleep(20);
        continue;
      }
      await this.#read(trace);
    }
  }

  async #read({ traceId, spanIds }: Acknowledged): Promise<void> {
    const wasReachable = pair.isReachable;
    const answer = await pair.trace(traceId);
    const named = wasReachable && pair.isReachable ? this.reasons : this.reasonsAway;
    if (typeof answer === 'string') {
      named.push(answer);
      return;
    }
    this.reads++;
    const { found, complete, reasons } = answer;
    named.push(...reasons);
    if (new Set(found).size !== found.length) this.wrong.push(`${traceId}: twice: ${found.join()}`);
    const missing = spanIds.filter((spanId) => !found.includes(spanId));
    if (missing.length > 0 && complete) this.wrong.push(`${traceId}: whole without ${missing.join()}`);
    if (missing.length > 0 && !complete && reasons.length === 0) this.wrong.push(`${traceId}: no reason`);
  }
}

/** Until every partition is answered for again at both processes. */
async function untilWhole(...processes: readonly number[]): Promise<number> {
  const beganMs = realClock.monotonicMs();
  for (const which of processes) {
    await eventually(
      `process ${which} answers for all partitions`,
      async () => {
        const { state, detail } = await pair.peersHealth(which);
        return state === 'ok' ? { value: true } : { failure: `${state}: ${detail}` };
      },
      WHOLE_BUDGET_MS,
    );
  }
  return realClock.monotonicMs() - beganMs;
}

test('two processes of a region: one stops and starts, the other is killed and starts; whole or named, nothing lost or counted twice', {
  timeout: 240_000,
}, async () => {
  await untilWhole(0, 1);
  const sender = new Sender();
  const reader = new Reader(sender);
  sender.start();
  reader.start();
  await sender.more(60);

  await pair.end(1, 'SIGTERM');
  const afterStopMs = await untilWhole(0);
  await sender.more(30);
  await pair.startOne(1);
  const afterStartMs = await untilWhole(0, 1);
  await sender.more(60);

  // The router asks process 0, which takes over.
  const named = reader.reasons.length;
  await pair.end(1, 'SIGKILL');
  const takeoverMs = await untilTakenOver();
  expect(reader.reasons.slice(named).join('\n')).toMatch(PARTITION);
  await sender.more(30);
  await pair.startOne(1);
  const afterKillMs = await untilWhole(0, 1);
  await sender.more(30);

  // And the one that the router knows.
  await pair.end(0, 'SIGKILL');
  await untilWhole(1);
  await pair.startOne(0);
  await untilWhole(0, 1);
  await sender.more(30);
  await sender.stop();
  await reader.stop();
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  console.log(
    `whole again: ${seconds(afterStopMs)} s after an orderly stop, ${seconds(afterStartMs)} s after its start, ` +
      `${seconds(takeoverMs)} s after kill -9, ${seconds(afterKillMs)} s after its start; ` +
      `${sender.traces.length} traces, ${reader.reads} reads, ${reader.reasons.length} of them partial, ` +
      `and ${reader.reasonsAway.length} while the process was away that the router knows`,
  );
  expect(reader.wrong).toEqual([]);
  expect(reader.reasons.filter((reason) => !PARTITION.test(reason))).toEqual([]);

  const lost: string[] = [];
  for (const { traceId, spanIds } of sender.traces) {
    const wanted = [...spanIds].sort().join();
    await eventually(`trace ${traceId}`, async () => {
      const answer = await pair.trace(traceId);
      if (typeof answer === 'string') return { failure: answer };
      const { found, complete, counted } = answer;
      const isRight = complete && [...found].sort().join() === wanted && counted === spanIds.length;
      return isRight ? { value: true } : { failure: JSON.stringify(answer) };
    }).catch((error: unknown) => lost.push(String(error)));
  }
  expect(lost).toEqual([]);

  /** From the kill until no answer lacks anything any more. */
  async function untilTakenOver(): Promise<number> {
    const beganMs = realClock.monotonicMs();
    await eventually('an answer that names what is missing', async () =>
      reader.reasons.length > named ? { value: true } : { failure: `${reader.reads} reads` },
    );
    await untilWhole(0);
    return realClock.monotonicMs() - beganMs;
  }
});
