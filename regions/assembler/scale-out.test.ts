import { describe, expect, test } from 'vitest';
import { joinMetadata, metadataCounts } from '../../global/index/join.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { type RegionProcess, RegionWorld } from './testing/region-world.js';
import { HOME } from './testing/rig.js';
import { type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

const TRACES = Array.from({ length: 24 }, (_, i) => testTraceId(i + 1));

/** Every trace gets a span now and then; some are whole with each, some wait for a parent that never comes. */
function spansAt(step: number): TestSpan[] {
  return TRACES.flatMap((traceId, i) => {
    if ((step + i) % 6 !== 0) return [];
    const number = step * 100 + i;
    const startUnixNano = 1_700_000_000_000_000_000n + BigInt(number);
    return [
      {
        traceId,
        spanId: testSpanId(number + 1),
        ...(i % 3 === 0 ? { parentSpanId: testSpanId(1 << 30) } : {}),
        service: `service-${i % 4}`,
        startUnixNano,
        endUnixNano: startUnixNano + 10n,
      },
    ];
  });
}

class Load {
  #step = 0;
  partial = 0;

  constructor(readonly world: RegionWorld) {}

  /** Goes on for so many steps of 100 ms, with a reader at every process. An answer that does not say otherwise has everything. */
  async run(steps: number, visibleMs: number): Promise<void> {
    for (let i = 0; i < steps; i++) {
      this.world.append(spansAt(this.#step++));
      if (this.#step % 4 === 0) await this.world.write(2);
      await this.world.rig.pass(100, 50);
      for (const process of this.world.alive.values()) await this.check(process, visibleMs);
    }
  }

  async check(process: RegionProcess, visibleMs: number): Promise<void> {
    const due = this.world.due(visibleMs);
    const { keys, missing } = await this.world.read(process, TRACES);
    if (missing.length > 0) this.partial++;
    const lost = due.filter((key) => !keys.has(key));
    if (missing.length === 0) expect(lost, `read at ${process.name}`).toEqual([]);
    const found = await this.world.search(process);
    const traces = new Set(due.map((key) => key.split('/')[0]!));
    if (found.missing.length === 0) {
      const unseen = [...traces].filter((trace) => !found.traces.has(trace));
      expect(unseen, `searched at ${process.name}`).toEqual([]);
    }
  }
}

const owned = (process: RegionProcess) =>
  process.assembler.live
    .partitions(HOME)
    .filter((one) => one.owned)
    .map(({ partition }) => partition);

async function start(...names: string[]) {
  const world = new RegionWorld();
  const processes: RegionProcess[] = [];
  for (const name of names) processes.push(await world.start(name));
  await world.rig.until(
    () => processes.flatMap(owned).length === 4 && processes.every((process) => owned(process).length > 0),
    'the partitions are shared out',
  );
  await world.rig.pass(1_000);
  return { world, processes, load: new Load(world) };
}

/** Stops all and looks at what is in the log: everything that was acknowledged, and counted once. */
async function checkEnd(world: RegionWorld): Promise<void> {
  for (const process of [...world.alive.values()]) await process.stop();
  const memory = world.rig.memory;
  const ends = [0, 1, 2, 3].map((partition) => memory.end(TOPICS.spans, partition));
  expect(memory.commitsOf(GROUPS.assembler, TOPICS.spans)).toEqual(ends);
  const index = new Map<string, TraceMetadata>();
  for (const trace of world.rig.feed().flatMap(({ traces }) => traces)) {
    const known = index.get(trace.traceId);
    index.set(trace.traceId, known ? joinMetadata(known, trace) : trace);
  }
  for (const traceId of TRACES) {
    const acknowledged = [...world.acknowledged.keys()].filter((key) => key.startsWith(traceId));
    expect(metadataCounts(index.get(traceId)!).spanCount).toBe(acknowledged.length);
  }
  expect(world.rig.fatal).toEqual([]);
}

describe('several processes of one region', () => {
  test('any of them answers for all partitions', async () => {
    const { world, load } = await start('a', 'b', 'c');
    await load.run(12, 300);
    expect(load.partial).toBe(0);
    await checkEnd(world);
  });

  test('processes that come and go in order: every read in between is whole', async () => {
    const { world, processes, load } = await start('a', 'b');
    await load.run(8, 300);
    const [a, b] = processes as [RegionProcess, RegionProcess];
    const before = owned(a);
    const c = await world.start('c');
    await load.run(10, 1_000);
    expect(owned(c).length).toBeGreaterThan(0);
    expect(owned(a)).not.toEqual(before);
    // A partition that comes back after others had it.
    await c.stop();
    await load.run(10, 1_000);
    expect(owned(a)).toEqual(before);
    await b.stop();
    await load.run(10, 1_000);
    expect(owned(a)).toEqual([0, 1, 2, 3]);
    await world.write(1_000);
    await load.run(4, 1_000);
    expect(load.partial).toBeLessThanOrEqual(2);
    await checkEnd(world);
  });

  test('a process is killed: answers are whole or say what is missing, and are whole again when its partitions are taken over', async () => {
    const { world, processes, load } = await start('a', 'b');
    await load.run(8, 300);
    const [a, b] = processes as [RegionProcess, RegionProcess];
    const session = b.kill();
    // What was found a moment ago is not left out in silence, although the survivor had b's partitions not long ago itself.
    await load.check(a, 300);
    expect(load.partial).toBe(1);
    const { missing } = await world.read(a, TRACES);
    expect(missing[0]?.reason).toMatch(
      /assembled by nobody at the moment: b:1, heard last at .* takes over within about 12 s$/,
    );
    await load.run(5, 300);
    expect(load.partial).toBe(6);
    session.expire();
    await load.run(10, 1_000);
    expect(owned(a)).toEqual([0, 1, 2, 3]);
    const { partial } = load;
    expect(partial).toBeLessThan(12);
    await load.run(5, 300);
    expect(load.partial).toBe(partial);
    await world.start('b');
    await load.run(10, 1_000);
    await checkEnd(world);
  });
});
