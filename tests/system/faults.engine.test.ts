import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { indexesEqual } from './index-digests.js';
import { startLoad } from './load.js';
import { EAST, EUROPE, eventually, THREE, WEST } from './test-fleet.js';
import { missingOrDouble, seededIds, sendTrace, wrongCounts } from './traffic.js';
import { useFleet } from './use-fleet.js';

/** Lo4, In2, St3, Ix5 on real engines: what was acknowledged is found, once, whatever is killed; counted. */

const START_BUDGET_MS = 300_000;
const fleet = useFleet({ engines: 'local', regionOptions: { assemblerSettleMs: 150 } }, START_BUDGET_MS);

const LOAD_MS = 60_000;
const SENDERS = 3;

interface TraceAnswer {
  complete: boolean;
  spanCount: number;
  regions: { region: string; state: string; source: string; reason?: string; since?: string }[];
}

describe('killed under load, twice in a minute', () => {
  const killRegion = async () => {
    const up = fleet().nextState(`${EAST} region`, 'up');
    process.kill(fleet().pid(EAST), 'SIGKILL');
    await up;
  };
  const faults: [string, () => Promise<void>][] = [
    ['Kafka', () => fleet().actOnEngine(`${EAST}/kafka`, 'kill')],
    ['Elasticsearch', () => fleet().actOnEngine(`${EAST}/elasticsearch`, 'kill')],
    ['Redis', () => fleet().actOnEngine(`${EAST}/redis`, 'kill')],
    ['MirrorMaker', () => fleet().actOnEngine(`${WEST}/mirror-maker`, 'kill')],
    ['the process with collector, assembler and writer', killRegion],
  ];

  test.each(faults)('%s', { timeout: 600_000 }, async (name, kill) => {
    const load = startLoad(fleet(), THREE, SENDERS, faults.findIndex(([known]) => known === name) + 1);
    // Kills are meant to fall anywhere: there is no event to wait for.
    await realClock.sleep(LOAD_MS / 6);
    await kill();
    await realClock.sleep(LOAD_MS / 3);
    await kill();
    await realClock.sleep(LOAD_MS / 2);
    const acknowledged = await load.stop();
    expect(acknowledged.length).toBeGreaterThan(100);
    expect(await missingOrDouble(fleet(), WEST, acknowledged)).toEqual([]);
    expect(await wrongCounts(fleet(), EUROPE, acknowledged)).toEqual([]);
    await indexesEqual(fleet());
  });
});

test('Elasticsearch away for two minutes: ingest and live traces go on, answers name the store, then all is stored', {
  timeout: 600_000,
}, async () => {
  const ids = seededIds(77);
  const before = await sendTrace(fleet(), THREE, ids);
  await stored(before.traceId);
  await fleet().actOnEngine(`${EAST}/elasticsearch`, 'stop');
  const load = startLoad(fleet(), THREE, SENDERS, 78);
  const away = realClock.sleep(120_000);

  const live = await sendTrace(fleet(), THREE, ids);
  await eventually('a live trace is answered', async () => {
    const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${live.traceId}`);
    return answer.spanCount === live.spanIds.length ? { value: true } : { failure: JSON.stringify(answer.regions) };
  });
  const partial = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${before.traceId}`);
  expect(partial.complete).toBe(false);
  expect(partial.regions.find(({ region }) => region === EAST)?.reason).toMatch(/store/);

  await away;
  const refused = await fetch(`${fleet().endpoints.regions[EAST]!.admin}/readyz`);
  expect(refused.status).toBe(200);
  const acknowledged = [...(await load.stop()), before, live];
  await fleet().actOnEngine(`${EAST}/elasticsearch`, 'start');
  expect(await missingOrDouble(fleet(), WEST, acknowledged)).toEqual([]);
  for (const { traceId } of acknowledged.slice(0, 20)) await stored(traceId);
});

async function stored(traceId: string): Promise<void> {
  await eventually(
    `${traceId} answered from the stores`,
    async () => {
      const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${traceId}`);
      const fromStore = answer.complete && answer.regions.every(({ source }) => source === 'store');
      return fromStore ? { value: true } : { failure: JSON.stringify(answer.regions) };
    },
    60_000,
  );
}

test('Redis flushed: answers stay right, and the index is back by itself', { timeout: 300_000 }, async () => {
  const ids = seededIds(79);
  const traces = [];
  for (let i = 0; i < 20; i++) traces.push(await sendTrace(fleet(), THREE, ids));
  expect(await missingOrDouble(fleet(), WEST, traces)).toEqual([]);
  expect(await wrongCounts(fleet(), WEST, traces)).toEqual([]);

  const redis = new Redis(fleet().endpoints.engines![WEST]!.redis.url);
  await redis.flushall();
  redis.disconnect();
  for (const { traceId, spanIds } of traces) {
    const answer = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${traceId}`);
    expect(answer.spanCount).toBe(spanIds.length);
    expect(answer.complete).toBe(true);
  }
  expect(await wrongCounts(fleet(), WEST, traces)).toEqual([]);
  await indexesEqual(fleet());
});

test('a collector that is killed while Kafka is away: it is back, takes spans, and its spool is replayed', {
  timeout: 300_000,
}, async () => {
  const ids = seededIds(80);
  await fleet().actOnEngine(`${EAST}/kafka`, 'stop');
  const spooled = [await sendTrace(fleet(), THREE, ids), await sendTrace(fleet(), THREE, ids)];
  const died = fleet().nextState(`${EAST} region`, 'died');
  process.kill(fleet().pid(EAST), 'SIGKILL');
  await died;
  // Acknowledged by the new process, which has not seen Kafka yet.
  spooled.push(await sendTrace(fleet(), THREE, ids));
  const up = fleet().nextState(`${EAST} region`, 'up');
  await fleet().actOnEngine(`${EAST}/kafka`, 'start');
  await up;
  expect(await missingOrDouble(fleet(), WEST, spooled)).toEqual([]);
});
