import { describe, expect, test } from 'vitest';
import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { LivePartition, LiveSegments } from '../assembler/open-traces-reader.js';
import type { Segment } from '../segments/segment.js';
import type { LivePeer } from './live-peer.js';
import { LivePeers } from './live-peers.js';
import { PEERED_LIVE_LIMITS, PeeredLive } from './peered-live.js';

const REGION = 'eu-west-1' as RegionId;
const TRACE = '00112233445566778899aabbccddeeff' as TraceId;
const PARTITIONS = 4;
const PARTITION = tracePartition(traceIdBytes(TRACE), 0, PARTITIONS);
const SEARCH: SearchRequest = {
  query: { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 1n },
  source: REGION,
  after: null,
  limit: 10,
};

const claim = (over: Partial<LivePartition> = {}): LivePartition => ({
  partition: PARTITION,
  owned: true,
  ageMs: 100,
  searchable: true,
  ...over,
});
const all = (...not: number[]) =>
  Array.from({ length: PARTITIONS }, (_, partition) => claim({ partition })).filter((c) => !not.includes(c.partition));

function segment(byte: number): Segment {
  const metadata = {
    traceId: TRACE,
    region: REGION,
    startUnixNano: 1n,
    endUnixNano: 2n,
    root: null,
    coverage: [],
    flags: 0,
    blocks: [],
  };
  return { metadata, payload: Buffer.from([byte]), closeReason: 'idle', receivedFirstMs: 1, receivedLastMs: 2 };
}

/** What one process holds and claims, and how it answers. */
class Process implements LiveSegments {
  asked = 0;
  fails: string | null = null;
  hangs = false;

  constructor(
    readonly name: string,
    public held: readonly Segment[],
    public claims: readonly LivePartition[],
  ) {}

  get = async () => {
    this.asked++;
    if (this.fails) throw new MeridianError('unavailable', this.fails, 'later');
    if (this.hangs) await new Promise(() => {});
    return this.held;
  };

  search = async () => {
    await this.get();
    return { matches: [], next: null };
  };

  partitions = () => this.claims;

  peer(address: string): LivePeer {
    const answer = async <T>(found: Promise<T>) => {
      const partitions = this.claims;
      return { found: await found, process: this.name, partitions };
    };
    return {
      address,
      getLive: () => answer(this.get()),
      searchLive: () => answer(this.search()),
      close: () => {},
    };
  }
}

/** The first process as it sees the region; the others are reached at `b:1`, `c:1`, ...; `a:1` is its own address. */
function regionOf(own: Process, ...others: Process[]) {
  const clock = new ManualClock();
  const processes = new Map([own, ...others].map((process) => [`${process.name}:1`, process]));
  const peers = new LivePeers({
    peers: others.length > 0 ? [...processes.keys()] : [],
    connect: (address) => processes.get(address)!.peer(address),
    clock,
    logger: silentLogger,
  });
  const options = { region: REGION, live: own, process: own.name, peers, partitionCount: PARTITIONS, clock };
  const peered = new PeeredLive({ ...options, takeoverMs: 12_000 });
  /** Moves time until the answer is there. */
  const settle = async <T>(answer: Promise<T>): Promise<T> => {
    let isDone = false;
    void answer.finally(() => {
      isDone = true;
    });
    for (let i = 0; i < 200 && !isDone; i++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (!isDone) await clock.advance(10);
    }
    return answer;
  };
  return {
    clock,
    get: () => settle(peered.get(REGION, TRACE)),
    search: () => settle(peered.search(SEARCH, new AbortController().signal)),
    health: () => settle(peered.health().check()),
  };
}

const bytesOf = ({ segments }: { segments: readonly { payload: Buffer }[] }) => segments.map((s) => s.payload[0]);

describe('by id', () => {
  test('the only process that owns the partition answers for itself and asks nobody', async () => {
    const [a, b] = [new Process('a', [segment(1)], [claim()]), new Process('b', [], [])];
    const answer = await regionOf(a, b).get();
    expect(bytesOf(answer)).toEqual([1]);
    expect(answer.missing).toBeNull();
    expect(b.asked).toBe(0);
  });

  test('another owner is asked; what several hold comes once', async () => {
    const a = new Process('a', [segment(1), segment(2)], []);
    const b = new Process('b', [segment(2), segment(3)], [claim()]);
    const answer = await regionOf(a, b).get();
    expect(bytesOf(answer)).toEqual([1, 2, 3]);
    expect(answer.missing).toBeNull();
  });

  test('an owner that answered is enough: a process that hangs is not waited for', async () => {
    const [a, b, c] = [new Process('a', [], []), new Process('b', [segment(1)], [claim()]), new Process('c', [], [])];
    c.hangs = true;
    const region = regionOf(a, b, c);
    const beganMs = region.clock.monotonicMs();
    expect((await region.get()).missing).toBeNull();
    expect(region.clock.monotonicMs()).toBe(beganMs);
  });

  test('its own address is asked once only', async () => {
    const a = new Process('a', [], []);
    const region = regionOf(a, new Process('b', [], [claim()]));
    for (let i = 0; i < 5; i++) expect((await region.get()).missing).toBeNull();
    expect(a.asked).toBe(6);
  });

  test('what a former owner holds is whole for as long as it is young', async () => {
    const { ageMsMax } = PEERED_LIVE_LIMITS;
    const a = new Process('a', [], []);
    const b = new Process('b', [segment(1)], [claim({ owned: false, ageMs: ageMsMax })]);
    expect((await regionOf(a, b).get()).missing).toBeNull();
    b.claims = [claim({ owned: false, ageMs: ageMsMax + 1 })];
    const answer = await regionOf(a, b).get();
    expect(bytesOf(answer)).toEqual([1]);
    expect(answer.missing?.reason).toBe(`partition ${PARTITION} of spans was last read to its end 5.0 s ago by b:1`);
  });

  test('a partition that moves between the asks is found at the second', async () => {
    const [a, b] = [new Process('a', [], []), new Process('b', [segment(1)], [])];
    const region = regionOf(a, b);
    b.claims = [claim({ ageMs: null })];
    const answer = region.get();
    while (b.asked === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    b.claims = [claim({ ageMs: 5 })];
    expect((await answer).missing).toBeNull();
    expect(b.asked).toBe(2);
  });

  test('a new owner that has not caught up is named', async () => {
    const a = new Process('a', [], [claim({ ageMs: null })]);
    const { missing } = await regionOf(a, new Process('b', [], [])).get();
    expect(missing).toMatchObject({
      part: 'assembler',
      reason: `partition ${PARTITION} of spans is being taken over by this process, which has not caught up yet`,
    });
  });

  test('an owner that went away is named with its address, since when, and what comes next', async () => {
    const [a, b] = [new Process('a', [segment(1)], []), new Process('b', [], [claim()])];
    const region = regionOf(a, b);
    const heard = new Date(region.clock.nowMs()).toISOString();
    expect((await region.get()).missing).toBeNull();
    b.fails = 'connect ECONNREFUSED b:1';
    await region.clock.advance(5_000);
    const first = await region.get();
    expect(bytesOf(first)).toContain(1);
    expect(first.missing?.reason).toBe(
      `partition ${PARTITION} of spans is assembled by nobody at the moment: b:1, heard last at ${heard}, ` +
        'does not answer (connect ECONNREFUSED b:1); another process takes over within about 12 s',
    );
    const { sinceMs } = first.missing!;
    await region.clock.advance(3_000);
    expect((await region.get()).missing?.sinceMs).toBe(sinceMs);
    a.claims = [claim()];
    expect((await region.get()).missing).toBeNull();
    a.claims = [];
    expect((await region.get()).missing?.sinceMs).toBeGreaterThan(sinceMs);
  });

  test('silence ends with the budget and is named', async () => {
    const [a, b] = [new Process('a', [], []), new Process('b', [], [])];
    b.hangs = true;
    const region = regionOf(a, b);
    const beganMs = region.clock.monotonicMs();
    const { missing } = await region.get();
    expect(missing?.reason).toContain('1 of 2 processes did, b:1 did not (no answer within 1000 ms)');
    expect(region.clock.monotonicMs() - beganMs).toBe(PEERED_LIVE_LIMITS.budgetMs);
    expect(b.asked).toBe(1);
  });

  test('its own failure is named, unless another one has the partition', async () => {
    const [a, b] = [new Process('a', [], [claim()]), new Process('b', [segment(1)], [])];
    a.fails = 'reading back block 7: down';
    expect((await regionOf(a, b).get()).missing?.reason).toContain('this process did not (reading back block 7: down)');
    b.claims = [claim()];
    expect((await regionOf(a, b).get()).missing).toBeNull();
  });

  test('a region of one process: nobody to ask, and a partition that is still taken over is named', async () => {
    const a = new Process('a', [], [claim({ ageMs: null })]);
    expect((await regionOf(a).get()).missing).not.toBeNull();
    expect(a.asked).toBe(1);
    a.claims = [claim()];
    expect((await regionOf(a).get()).missing).toBeNull();
  });
});

describe('search', () => {
  test('is whole when the partitions of all processes together are all there are', async () => {
    const [a, b] = [new Process('a', [], all(1, 3)), new Process('b', [], all(0, 2))];
    const { pages, missing } = await regionOf(a, b).search();
    expect(pages).toHaveLength(2);
    expect(missing).toBeNull();
    b.claims = all(0, 1, 2);
    expect((await regionOf(a, b).search()).missing?.reason).toMatch(/^partition 1 of spans is assembled by nobody/);
    a.claims = [];
    expect((await regionOf(a, b).search()).missing?.reason).toMatch(/, and 2 more of 4 partitions$/);
  });

  test('waits until the store shows what it had when a partition was taken over; by id there is no need to', async () => {
    const fresh = all().map((c) => ({ ...c, searchable: false }));
    const a = new Process('a', [], fresh);
    expect((await regionOf(a).search()).missing?.reason).toContain('being taken over');
    expect((await regionOf(a).get()).missing).toBeNull();
  });
});

test('the health check tells of partitions that nobody assembles', async () => {
  const [a, b] = [new Process('a', [], all(1)), new Process('b', [], [claim({ partition: 1 })])];
  expect(await regionOf(a, b).health()).toEqual({
    part: 'peers',
    state: 'ok',
    detail: '2 processes answer for all partitions of spans',
  });
  b.fails = 'gone';
  expect(await regionOf(a, b).health()).toMatchObject({ part: 'peers', state: 'degraded' });
});
