import pLimit from 'p-limit';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { makeKnownTrace } from '../../scripts/cli/known-trace.js';
import { spanIdsOf } from './canonical-spans.js';
import { eventually, type TestFleet } from './test-fleet.js';

/** A trace of which every part was acknowledged. */
export interface AcknowledgedTrace {
  readonly traceId: string;
  readonly spanIds: readonly string[];
}

/** Numbers that look random and are the same in every run. */
export function seededIds(seed: number): (bytes: number) => string {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
  return (bytes) => Array.from({ length: bytes }, () => next().toString(16).padStart(2, '0')).join('');
}

/** Sends one known trace, each part again until it is acknowledged: what a client of OTLP does. */
export async function sendTrace(
  fleet: TestFleet,
  regions: readonly RegionId[],
  ids: (bytes: number) => string,
): Promise<AcknowledgedTrace> {
  const spanIds: string[] = [];
  const trace = makeKnownTrace({
    traceId: ids(16),
    regions,
    startUnixNano: realClock.nowUnixNano(),
    spanId: () => {
      spanIds.push(ids(8));
      return spanIds.at(-1)!;
    },
  });
  await Promise.all(
    regions.map((region) =>
      eventually(`part of ${trace.traceId} at ${region}`, async () => {
        const response = await fleet.postSpans(region, trace.bodies.get(region)!);
        const text = await response.text();
        return response.status === 200 ? { value: true } : { failure: `${response.status}: ${text}` };
      }),
    ),
  );
  // makeKnownTrace asks for two ids per region; the last region has no client span.
  return { traceId: trace.traceId, spanIds: spanIds.slice(0, trace.spanCount) };
}

/** Every acknowledged span is found, exactly once, and nothing else. Returns what is wrong. */
export async function missingOrDouble(
  fleet: TestFleet,
  router: RegionId,
  traces: readonly AcknowledgedTrace[],
): Promise<string[]> {
  return failuresOf(traces, async ({ traceId, spanIds }) => {
    const wanted = [...spanIds].sort().join();
    await fleet.traceBytes(router, traceId, (bytes) => spanIdsOf(bytes).sort().join() === wanted);
  });
}

interface IndexAnswer {
  records: { region: string; spanCount: number }[];
}

/** The index of the router's region counts each part once. Waits for the feed to arrive; returns what stayed wrong. */
export async function wrongCounts(
  fleet: TestFleet,
  router: RegionId,
  traces: readonly AcknowledgedTrace[],
): Promise<string[]> {
  return failuresOf(traces, ({ traceId, spanIds }) =>
    eventually(`counts of ${traceId}`, async () => {
      const { records } = await fleet.json<IndexAnswer>(router, `/v1/index/${traceId}`);
      const counted = records.reduce((sum, record) => sum + record.spanCount, 0);
      return counted === spanIds.length ? { value: true } : { failure: `counted ${counted} of ${spanIds.length}` };
    }),
  );
}

const CHECKS_AT_ONCE = 6;

/** Checks all traces, some at once; what failed, as text. */
async function failuresOf(
  traces: readonly AcknowledgedTrace[],
  check: (trace: AcknowledgedTrace) => Promise<unknown>,
): Promise<string[]> {
  const limit = pLimit(CHECKS_AT_ONCE);
  const checked = await Promise.all(
    traces.map((trace) =>
      limit(() =>
        check(trace).then(
          () => null,
          (error: unknown) => `${trace.traceId}: ${error}`,
        ),
      ),
    ),
  );
  return checked.filter((failure) => failure !== null);
}
