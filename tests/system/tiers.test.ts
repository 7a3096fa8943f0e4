import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { makeKnownTrace } from '../../scripts/cli/known-trace.js';
import { runMeridian } from './meridian-command.js';
import { EAST, eventually, WEST } from './test-fleet.js';
import { type AcknowledgedTrace, missingOrDouble, seededIds } from './traffic.js';
import { useFleet } from './use-fleet.js';

/** St4 on real processes: what ages goes to the cold tier and is still found; a store that was lost comes back, also as it was at a moment. */

const HOUR_MS = 3_600_000;
const REGIONS = [EAST, WEST];
/** The fleet lives first so long ago: age counts from when spans were received, too. */
const AGO_MS = 30 * HOUR_MS;

/** Loaded by every process of the fleet and its threads: moves their clocks by what a file says when they start. */
const SHIFTED_CLOCK = `
const shiftMs = Number(require('node:fs').readFileSync(require('node:path').join(__dirname, 'shift'), 'utf8'));
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + shiftMs);
    else super(...parts);
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};
Object.defineProperty(performance, 'timeOrigin', { value: performance.timeOrigin + shiftMs });
`;
const clockDir = mkdtempSync(join(tmpdir(), 'meridian-clock-'));
afterAll(() => rmSync(clockDir, { recursive: true }));
const setClocks = (shiftMs: number) => writeFileSync(join(clockDir, 'shift'), String(shiftMs));
writeFileSync(join(clockDir, 'clock.cjs'), SHIFTED_CLOCK);
setClocks(-AGO_MS);

const fleet = useFleet({
  regions: REGIONS,
  environment: { NODE_OPTIONS: `--require ${join(clockDir, 'clock.cjs')}` },
  regionOptions: { assemblerSettleMs: 150, cold: 'folder', coldAfterMs: HOUR_MS, agingIntervalMs: 1000 },
});
const ids = seededIds(44);

/** One known trace with a part in each region that began so long ago, acknowledged. */
async function sendAged(agoMs: number): Promise<AcknowledgedTrace> {
  const spanIds: string[] = [];
  const trace = makeKnownTrace({
    traceId: ids(16),
    regions: REGIONS,
    startUnixNano: BigInt(realClock.nowMs() - agoMs) * 1_000_000n,
    spanId: () => {
      spanIds.push(ids(8));
      return spanIds.at(-1)!;
    },
  });
  for (const region of REGIONS) {
    const response = await fleet().postSpans(region, trace.bodies.get(region)!);
    expect([response.status, await response.text()]).toEqual([200, expect.not.stringContaining('rejected')]);
  }
  return { traceId: trace.traceId, spanIds: spanIds.slice(0, trace.spanCount) };
}

async function sendSome(count: number): Promise<AcknowledgedTrace[]> {
  const sent: AcknowledgedTrace[] = [];
  for (let i = 0; i < count; i++) sent.push(await sendAged(0));
  return sent;
}

/** Whole, and east's part out of its store. */
async function stored(traces: readonly AcknowledgedTrace[]): Promise<void> {
  expect(await missingOrDouble(fleet(), WEST, traces)).toEqual([]);
  for (const { traceId } of traces) {
    await eventually(`${traceId} in the store of east`, async () => {
      const { regions } = await fleet().json<TraceAnswer>(WEST, `/v1/traces/${traceId}`);
      const source = regions.find(({ region }) => region === EAST)?.source;
      return source === 'store' ? { value: true } : { failure: `from ${source}` };
    });
  }
}

interface TraceAnswer {
  regions: { region: string; source: string }[];
}

/** Ids of the traces that a search at the router of west finds in east, newest first; once east answers. */
async function foundInEast(sinceMs: number): Promise<string[]> {
  const start = new Date(realClock.nowMs() - sinceMs).toISOString();
  const path = `/v1/traces?regions=${EAST}&start=${start}&limit=200`;
  return eventually('an answer of east', async () => {
    const { traces, complete } = await fleet().json<{ traces: { traceId: string }[]; complete: boolean }>(WEST, path);
    return complete ? { value: traces.map(({ traceId }) => traceId) } : { failure: 'not complete' };
  });
}

const folderOf = (name: string) => join(fleet().dataDir, EAST, name);

async function metricOfEast(name: string): Promise<number> {
  const metrics = await (await fetch(`${fleet().endpoints.regions[EAST]!.admin}/metrics`)).text();
  const values = metrics.split('\n').filter((line) => line.startsWith(name));
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** What is in the store is lost, what is in the log, the cold tier and snapshots is not. */
async function loseStore(): Promise<void> {
  await fleet().stopRegion(EAST);
  rmSync(folderOf('store'), { recursive: true });
  await fleet().startRegion(EAST);
}

const meridian = (...args: string[]) => runMeridian(fleet().dataDir, args);
const idsOf = (traces: readonly AcknowledgedTrace[]) => traces.map(({ traceId }) => traceId);

const aged: AcknowledgedTrace[] = [];

test('what is older than coldAfterMs leaves the store and is found by id and in search', {
  timeout: 90_000,
}, async () => {
  // One after the other, so that each has a block.
  for (let i = 0; i < 3; i++) {
    const trace = await sendAged(AGO_MS);
    await stored([trace]);
    aged.unshift(trace);
  }
  await Promise.all(REGIONS.map((region) => fleet().stopRegion(region)));
  setClocks(0);
  await Promise.all(REGIONS.map((region) => fleet().startRegion(region)));
  await eventually('all that has aged in the cold tier', async () => {
    const moved = await metricOfEast('meridian_cold_packed_blocks_total');
    return moved === aged.length ? { value: moved } : { failure: `${moved} blocks moved` };
  });
  const [young] = await sendSome(1);
  await stored([young!]);
  expect(await missingOrDouble(fleet(), WEST, aged)).toEqual([]);
  expect(await foundInEast(AGO_MS + HOUR_MS)).toEqual(idsOf([young!, ...aged]));

  // Without the store they can only come from the cold tier.
  await loseStore();
  expect(await missingOrDouble(fleet(), WEST, aged)).toEqual([]);
  expect(await foundInEast(AGO_MS + HOUR_MS)).toEqual(idsOf(aged));
  expect(await metricOfEast('meridian_cold_reads_total')).toBeGreaterThan(0);
});

describe('snapshots', () => {
  const restore = (...args: string[]) => meridian('snapshot', 'restore', '--region', EAST, ...args);

  test('a lost store comes back whole, and as it was at a moment', { timeout: 90_000 }, async () => {
    const before = await sendSome(3);
    await stored(before);
    const created = await meridian('snapshot', 'create', '--region', EAST, '--json');
    expect([created.code, created.err]).toEqual([0, '']);
    const { name, takenMs } = JSON.parse(created.out) as { name: string; takenMs: number };
    const after = await sendSome(3);
    await stored(after);
    const momentMs = realClock.nowMs();
    // A record of the same millisecond would belong to the moment.
    await realClock.sleep(5);
    const late = await sendSome(2);
    await stored(late);

    await loseStore();
    const all = [...before, ...after, ...late];
    const found = async () => new Set(await foundInEast(HOUR_MS / 2));
    const lost = await found();
    expect(idsOf(all).filter((id) => lost.has(id))).toEqual([]);

    const dry = await restore('--dry-run');
    expect(dry.code).toBe(0);
    expect(dry.out).toContain(name);
    expect(dry.out).toMatch(/segments\/\d+ +\d+ to \d+/);
    const unconfirmed = await restore();
    expect(unconfirmed.code).toBe(4);
    expect(unconfirmed.err).toContain('--yes');
    expect((await found()).size).toBe(lost.size);

    const whole = await restore('--yes');
    expect([whole.code, whole.err]).toEqual([0, '']);
    expect(whole.out).toMatch(new RegExp(`restored to now: ${name}, and [1-9]\\d* blocks`));
    // The aged ones were in the cold tier all the time: none of them is there twice.
    expect(await missingOrDouble(fleet(), WEST, [...all, ...aged])).toEqual([]);

    const then = await restore('--to', String(momentMs), '--yes');
    expect(then.code).toBe(0);
    const thenFound = await found();
    expect(idsOf(all).filter((id) => thenFound.has(id))).toEqual(idsOf([...before, ...after]));
    expect(then.out).toContain(new Date(momentMs).toISOString());

    // As the command says.
    const from = /meridian replay --region us-east-1 --view store --from (\S+)`/.exec(then.out)![1]!;
    const replayed = await meridian('replay', '--region', EAST, '--view', 'store', '--from', from);
    expect(replayed.code).toBe(0);
    expect(await missingOrDouble(fleet(), WEST, all)).toEqual([]);

    const tooEarly = await restore('--to', new Date(takenMs - 1000).toISOString(), '--dry-run');
    expect(tooEarly.code).toBe(1);
    expect(tooEarly.err).toContain(`there are: ${name}`);
  });

  test.each([
    ['a time that is none', ['--to', 'yesterday'], 2, /"yesterday" is no time/],
    ['a moment ahead', ['--to', '2999-01-01T00:00:00Z'], 2, /lies ahead/],
    ['a name that is none', ['--name', '../../etc'], 2, /no name of a snapshot/],
    ['a snapshot that is not there', ['--name', 'daily-20200101t000000z'], 1, /no such snapshot; there are: manual-/],
  ])('%s is told before anything is touched', async (_name, args, code, message) => {
    const result = await restore('--yes', ...args);
    expect(result.err).toMatch(message);
    expect(result.code).toBe(code);
  });

  test('list tells what each region has', async () => {
    const { out, code } = await meridian('snapshot', 'list');
    expect(code).toBe(0);
    expect(out).toMatch(/^us-east-1 +manual-\d{8}t\d{6}z +manual +20\S+Z +\d+ s ago$/m);
    expect(out).toContain(`${WEST}: no snapshots; \`meridian snapshot create --region ${WEST}\` takes one`);
    await fleet().stopRegion(WEST);
    const partial = await meridian('snapshot', 'list');
    expect([partial.code, partial.out]).toEqual([3, expect.stringMatching(/us-west-2: .*does not answer/)]);
    await fleet().startRegion(WEST);
    expect((await meridian('snapshot', 'list', '--region', 'mars-1')).code).toBe(2);
  });
});
