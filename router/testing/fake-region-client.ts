import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchRequest } from '../../global/model/query.js';
import type {
  CallOptions,
  FollowedRecords,
  RegionClient,
  RegionSearchPage,
  RegionSegment,
  RegionStatus,
  RegionTrace,
  TraceRequest,
} from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** How a fake region behaves from now on. */
export type FakeMode =
  | { readonly kind: 'well' }
  /** Answers, this much later; obeys the signal. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** Never answers, whatever deadline and signal say. */
  | { readonly kind: 'hung' }
  | { readonly kind: 'failing'; readonly error: unknown }
  /** Fails this many calls, then is well. */
  | { readonly kind: 'flaky'; left: number; readonly error: unknown }
  /** `getTrace` answers with exactly this. */
  | { readonly kind: 'answering'; readonly trace: RegionTrace }
  /** `search` answers with exactly this. */
  | { readonly kind: 'paging'; readonly page: RegionSearchPage };

/** A region in the test's own process: holds segments, answers as a region does, and misbehaves when told to. */
export class FakeRegionClient implements RegionClient {
  mode: FakeMode = { kind: 'well' };
  /** Another mode for `status` alone. */
  statusMode: FakeMode | null = null;
  status_: Omit<RegionStatus, 'region'> = { parts: [{ part: 'api', state: 'ok' }], links: [], startedMs: 0 };
  readonly calls: { readonly what: 'getTrace' | 'search' | 'status'; readonly traceId?: TraceId }[] = [];
  readonly #segments = new Map<TraceId, RegionSegment[]>();
  /** What makes a segment match a search; by default the service. */
  matches: (metadata: TraceMetadata, request: SearchRequest) => boolean = ({ coverage }, { query }) =>
    query.service === undefined || coverage.some((c) => c.service === query.service);

  constructor(
    readonly region: RegionId,
    private readonly clock: Clock,
  ) {}

  add(segment: RegionSegment): void {
    const { traceId } = segment.metadata;
    this.#segments.set(traceId, [...(this.#segments.get(traceId) ?? []), segment]);
  }

  callCount(what: 'getTrace' | 'search' | 'status'): number {
    return this.calls.filter((c) => c.what === what).length;
  }

  async getTrace(request: TraceRequest, call: CallOptions): Promise<RegionTrace> {
    this.calls.push({ what: 'getTrace', traceId: request.traceId });
    await this.#behave(this.mode, call);
    if (this.mode.kind === 'answering') return this.mode.trace;
    return { segments: this.#segments.get(request.traceId) ?? [], truncated: false, missing: [] };
  }

  async search(request: SearchRequest, call: CallOptions): Promise<RegionSearchPage> {
    this.calls.push({ what: 'search' });
    await this.#behave(this.mode, call);
    if (this.mode.kind === 'paging') return this.mode.page;
    const seen = new Set<TraceId>();
    const matches = [...this.#segments.values()]
      .flat()
      .filter(({ metadata }) => this.matches(metadata, request))
      .map(({ metadata }) => ({
        position: { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId },
        metadata,
      }))
      .filter(({ position }) => request.after === null || compareSearchPositions(request.after, position) < 0)
      .sort((a, b) => compareSearchPositions(a.position, b.position))
      .filter(({ position }) => !seen.has(position.traceId) && seen.add(position.traceId));
    const page = matches.slice(0, request.limit);
    return { matches: page, next: matches.length > page.length ? page[page.length - 1]!.position : null, missing: [] };
  }

  async status(call: CallOptions): Promise<RegionStatus> {
    this.calls.push({ what: 'status' });
    await this.#behave(this.statusMode ?? this.mode, call);
    return { region: this.region, ...this.status_ };
  }

  async *followTopic(): AsyncIterable<FollowedRecords> {}

  async indexDigests(): Promise<[]> {
    return [];
  }

  async indexBucket(): Promise<[]> {
    return [];
  }

  close(): void {}

  async #behave(mode: FakeMode, call: CallOptions): Promise<void> {
    switch (mode.kind) {
      case 'slow':
        await this.clock.sleep(mode.ms, call.signal);
        if (call.signal?.aborted) throw new MeridianError('timeout', `${this.region}: aborted`, 'later');
        return;
      case 'hung':
        return new Promise(() => {});
      case 'failing':
        throw mode.error;
      case 'flaky':
        if (mode.left > 0) {
          mode.left--;
          throw mode.error;
        }
        return;
    }
  }
}
