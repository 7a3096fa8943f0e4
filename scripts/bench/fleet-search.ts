import { realClock } from '../../global/runtime/clock.js';
import { askedOn, BENCH_REGIONS, type BenchEngines, nameOn, sendOtlp, timeUntil, withFleet } from './bench-fleet.js';
import { type BenchResult, type BenchRow, quantileOf, runRounds } from './bench-result.js';
import { makeBatch } from './sample-spans.js';

const SPANS_PER_REGION = 1_000_000;
const BATCH_SPANS = 2000;
const SEARCHES = 40;

/** Searches over three regions of a million spans each, through the router. */
export function benchSearch(engines: BenchEngines): Promise<BenchResult> {
  return withFleet(
    engines,
    async (endpoints) => {
      const rareIds = await fill(endpoints.regions);
      const router = endpoints.routers[BENCH_REGIONS[0]!]!.http;
      const search = async (query: string) => {
        const response = await fetch(`${router}/v1/traces?timeRange=6h&limit=20&${query}`);
        return (await response.json()) as { traces: unknown[]; complete: boolean };
      };
      // Everything sent has left the assemblers when its oldest attribute is found in a region's store.
      for (const id of rareIds) {
        await timeUntil(async () => (await search(`attr=request.id%3D${id}`)).traces.length === 1, 120_000);
      }
      // And the writers have caught up when the newest trace is answered from the stores alone.
      await timeUntil(() => newestIsStored(router), 300_000);
      const row = async (what: string, queries: readonly string[], wanted: number): Promise<BenchRow> => ({
        what: `${what}, ${SPANS_PER_REGION.toLocaleString('en-US')} spans in each of 3 regions, p95 of ${SEARCHES}`,
        asked: { relation: 'below', value: askedOn(engines, { embedded: 200, local: 500 }) },
        unit: 'ms',
        measured: await runRounds({ rounds: 3 }, async () => {
          const times: number[] = [];
          for (let i = 0; i < SEARCHES; i++) {
            const start = performance.now();
            const { traces, complete } = await search(queries[i % queries.length]!);
            times.push(performance.now() - start);
            if (!complete || traces.length < wanted) throw new Error(`${traces.length} traces, complete ${complete}`);
          }
          return quantileOf(times, 0.95);
        }),
      });
      return {
        name: nameOn(engines, 'search'),
        requirements: ['St2', 'Ro2'],
        rows: [
          await row('search by service', ['service=gateway', 'service=orders'], 20),
          await row(
            'search by rare attribute',
            rareIds.map((id) => `attr=request.id%3D${id}`),
            1,
          ),
        ],
      };
    },
    { assemblerSettleMs: 500, assemblerIdleMs: 2000 },
  );
}

async function newestIsStored(router: string): Promise<boolean> {
  const { traces } = (await (await fetch(`${router}/v1/traces?timeRange=6h&limit=1`)).json()) as {
    traces: { traceId: string }[];
  };
  if (traces.length === 0) return false;
  const trace = (await (await fetch(`${router}/v1/traces/${traces[0]!.traceId}`)).json()) as {
    complete: boolean;
    regions: { source: string }[];
  };
  return trace.complete && trace.regions.every(({ source }) => source !== 'live');
}

/** Sends the spans over the last hours; returns request ids of spans spread over all that was sent. */
async function fill(regions: Record<string, { otlpHttp: string }>): Promise<string[]> {
  const rare: string[] = [];
  const batches = SPANS_PER_REGION / BATCH_SPANS;
  const now = realClock.nowUnixNano();
  for (let i = 0; i < batches; i++) {
    // Four hours, oldest first.
    const startUnixNano = now - BigInt(batches - i) * ((4n * 3_600_000_000_000n) / BigInt(batches));
    await Promise.all(
      BENCH_REGIONS.map(async (region, r) => {
        const body = makeBatch({ spans: BATCH_SPANS, services: 2, seed: i * 8 + r, startUnixNano });
        if (i % (batches / 10) === 0) rare.push(requestIdIn(body));
        await sendOtlp(regions[region]!.otlpHttp, body);
      }),
    );
  }
  return rare;
}

/** The value of the first `request.id` attribute in an OTLP body: 16 hex characters that no other span has. */
function requestIdIn(body: Buffer): string {
  const at = body.indexOf('request.id');
  const value = /[0-9a-f]{16}/.exec(body.toString('latin1', at + 10, at + 40));
  if (!value) throw new Error('the sample batch has no request.id');
  return value[0];
}
