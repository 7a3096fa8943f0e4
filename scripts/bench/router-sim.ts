import type { RegionId, TraceId } from '../../global/model/ids.js';
import { FeedModel, type SimulatedRegion, type SimulatedSpan } from '../../router/testing/feed-model.js';
import { type BenchResult, type BenchRow, spreadOf } from './bench-result.js';
import { mulberry32 } from './sample-spans.js';

const FLEETS = [3, 10, 30] as const;
const ROUNDS = 5;
const LOOKUPS_PER_ROUND = 2000;
const GRACE_SECONDS = 600;
/** Each link is cut once a day on average, for five minutes on average. */
const CUT_EVERY_SECONDS = 86_400;
const CUT_SECONDS = 300;
/** True time of the traces, and of the lookups an hour later; seconds. */
const TRACE_AT = 1000;
const ASKED_AT = TRACE_AT + 3600;

/**
 * Region calls per lookup of a trace that is an hour old and has parts in two regions, in simulated fleets: feeds with delays, clocks that
 * are off by up to 5 s, links that are cut for some minutes a day. The plan is the router's own.
 */
export async function benchRouterSim(): Promise<BenchResult> {
  const rows: BenchRow[] = FLEETS.map((size): BenchRow => {
    const rounds = Array.from({ length: ROUNDS }, (_, round) => callsPerLookup(size, mulberry32(size * 1000 + round)));
    return {
      what: `region calls per lookup of an hour-old trace of two regions, ${size} regions (simulated; grace ${GRACE_SECONDS} s, each link cut 5 min a day)`,
      asked: { relation: 'at most', value: 2.01 },
      unit: 'calls',
      measured: spreadOf(rounds),
      comparedWith: `${size} calls without an index`,
    };
  });
  return { name: 'router-sim', requirements: ['Ro1', 'Ix3'], rows };
}

function callsPerLookup(size: number, random: () => number): number {
  let calls = 0;
  for (let i = 0; i < LOOKUPS_PER_ROUND; i++) {
    const regions = Array.from({ length: size }, (_, n) => simulatedRegion(n, random));
    const feed = new FeedModel({ regions, spansPartitions: 8, graceSeconds: GRACE_SECONDS });
    const first = Math.floor(random() * size);
    const second = (first + 1 + Math.floor(random() * (size - 1))) % size;
    const spans = [first, second].map((n): SimulatedSpan => {
      const start = TRACE_AT + random() * 10;
      const skew = (random() - 0.5) * 10;
      return {
        region: regions[n]!.region,
        appendedAt: start + 1 + random() * 30,
        start: start + skew,
        end: start + 1 + skew,
      };
    });
    const plan = feed.plan(traceIdOf(random), spans, ASKED_AT, (random() - 0.5) * 10);
    calls += plan.regions.filter((r) => r.action === 'ask').length;
  }
  return calls / LOOKUPS_PER_ROUND;
}

function simulatedRegion(n: number, random: () => number): SimulatedRegion {
  const cuts: { from: number; to: number }[] = [];
  for (let at = untilNext(CUT_EVERY_SECONDS, random); at < ASKED_AT; at += untilNext(CUT_EVERY_SECONDS, random)) {
    cuts.push({ from: at, to: at + untilNext(CUT_SECONDS, random) });
  }
  return {
    region: `region-${n}` as RegionId,
    clockOffset: (random() - 0.5) * 10,
    assemblyDelay: 0.1 + random() * 5,
    watermarkEvery: 0.1 + random(),
    linkDelay: random() * 0.5,
    cuts,
  };
}

/** Exponentially distributed with this mean. */
function untilNext(mean: number, random: () => number): number {
  return -Math.log(1 - random()) * mean;
}

function traceIdOf(random: () => number): TraceId {
  const half = () =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return `${half()}${half()}${half()}${half()}` as TraceId;
}
