import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FetchSteps, RegionPeer } from '../fanout/fetch-trace.js';
import type { RegionOutcome } from '../fanout/outcome.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60];

/** What a router counts about itself. */
export class RouterMetrics {
  readonly #requests: Counter<'route' | 'code'>;
  readonly #seconds: Histogram<'route'>;
  readonly #calls: Counter<'region' | 'operation' | 'outcome'>;
  readonly #callSeconds: Histogram<'region' | 'operation'>;
  readonly #partial: Counter<'route'>;
  readonly #indexFailures: Counter;
  readonly #duplicates: Counter;
  readonly #foldedFirst: Counter<'outcome'>;

  constructor(registry: Registry, peers: Iterable<RegionPeer>) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'meridian_router_requests_total',
      help: 'Requests answered, by route and status code',
      labelNames: ['route', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'meridian_router_request_duration_seconds',
      help: 'Time from a request to the end of its answer',
      labelNames: ['route'],
      buckets: SECONDS,
      registers,
    });
    this.#calls = new Counter({
      name: 'meridian_router_region_outcomes_total',
      help: 'What became of each region in each answer: answered, empty, skipped, unavailable, timeout, refused',
      labelNames: ['region', 'operation', 'outcome'],
      registers,
    });
    this.#callSeconds = new Histogram({
      name: 'meridian_router_region_call_duration_seconds',
      help: 'Time that a region took, retries included, where it was asked',
      labelNames: ['region', 'operation'],
      buckets: SECONDS,
      registers,
    });
    this.#partial = new Counter({
      name: 'meridian_router_partial_answers_total',
      help: 'Answers in which a region that may hold a part is missing',
      labelNames: ['route'],
      registers,
    });
    this.#indexFailures = new Counter({
      name: 'meridian_router_index_failures_total',
      help: 'Questions that the index did not answer in time',
      registers,
    });
    this.#duplicates = new Counter({
      name: 'meridian_router_duplicate_spans_total',
      help: 'Spans that came more than once and were shown once',
      registers,
    });
    this.#foldedFirst = new Counter({
      name: 'meridian_router_folded_lookups_total',
      help: 'Traces without a record whose regions with a folded part were asked first: found there, not-found (a wrong answer of a filter, or expired), late',
      labelNames: ['outcome'],
      registers,
    });
    const watched = [...peers];
    new Gauge({
      name: 'meridian_router_breaker_open_state',
      help: 'Breaker of a region: 0 closed, 0.5 on trial, 1 open',
      labelNames: ['region'],
      registers,
      collect() {
        for (const { region, health } of watched) {
          this.set({ region }, health.breaker === 'open' ? 1 : health.breaker === 'half-open' ? 0.5 : 0);
        }
      },
    });
    new Gauge({
      name: 'meridian_router_region_failing_seconds',
      help: 'How long a region has been failing as this router sees it; 0 when it works',
      labelNames: ['region'],
      registers,
      collect() {
        for (const { region, health } of watched) this.set({ region }, health.failingForMs() / 1000);
      },
    });
  }

  request(route: string, code: number, seconds: number): void {
    this.#requests.inc({ route, code: String(code) });
    this.#seconds.observe({ route }, seconds);
  }

  outcomes(operation: 'trace' | 'search', outcomes: readonly RegionOutcome[]): void {
    for (const { region, state, tookMs } of outcomes) {
      this.#calls.inc({ region, operation, outcome: state });
      if (state !== 'skipped') this.#callSeconds.observe({ region, operation }, tookMs / 1000);
    }
  }

  partial(route: string): void {
    this.#partial.inc({ route });
  }

  indexFailed(): void {
    this.#indexFailures.inc();
  }

  steps(steps: FetchSteps): void {
    if (steps !== 'one') this.#foldedFirst.inc({ outcome: steps });
  }

  duplicates(count: number): void {
    if (count > 0) this.#duplicates.inc(count);
  }
}
