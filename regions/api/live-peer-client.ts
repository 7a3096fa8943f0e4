import { decodeTraceMetadata } from '../../global/index/feed-codec.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import type { SearchRequest } from '../../global/model/query.js';
import { checkVersion, positionFromWire, searchToWire } from '../../global/region-api/convert.js';
import { REGION_API_VERSION, regionApiService, type WireLiveReach } from '../../global/region-api/messages.js';
import { RegionCalls } from '../../global/region-api/region-calls.js';
import type { CallOptions } from '../../global/region-api/region-client.js';
import type { ChannelSecurity } from '../../global/runtime/channel-security.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { LivePartition } from '../assembler/open-traces-reader.js';
import type { SearchPage } from '../store/segment-store.js';
import type { LiveAnswer, LivePeer, LiveSegment } from './live-peer.js';

/** Partitions that one answer may name. */
const PARTITIONS_MAX = 10_000;

/** A channel to the region API of another process of this region. */
export function createLivePeerClient(options: { address: string; security: ChannelSecurity }): LivePeer {
  return new LivePeerClient(options.address, new RegionCalls({ of: options.address, ...options }));
}

class LivePeerClient implements LivePeer {
  readonly #methods = regionApiService();

  constructor(
    readonly address: string,
    private readonly calls: RegionCalls,
  ) {}

  close(): void {
    this.calls.close();
  }

  async getLive(
    source: RegionId,
    traceId: TraceId,
    { deadlineMs, signal }: CallOptions,
  ): Promise<LiveAnswer<readonly LiveSegment[]>> {
    const request = { version: REGION_API_VERSION, source, traceId: traceIdBytes(traceId) };
    const found: LiveSegment[] = [];
    let bytes = 0;
    for await (const { segment, reach } of this.calls.stream(this.#methods.GetLive, request, signal, deadlineMs)) {
      if (reach) return this.#answer('GetLive', found, reach);
      if (!segment) throw this.calls.malformed('GetLive', 'a part that is neither segment nor reach');
      bytes += segment.tracesData.length;
      if (bytes > LIMITS.traceBytesMax) {
        const attempt = this.calls.attempt('GetLive');
        throw new MeridianError('too-large', `${attempt}: over ${LIMITS.traceBytesMax} bytes`, 'never');
      }
      found.push({
        payload: segment.tracesData,
        receivedFirstMs: Number(segment.receivedFirstMs),
        receivedLastMs: Number(segment.receivedLastMs),
        metadata: this.calls.decoded('GetLive', () => decodeTraceMetadata(segment.metadata)),
      });
    }
    throw this.calls.malformed('GetLive', 'the stream ended before its end');
  }

  async searchLive(request: SearchRequest, call: CallOptions): Promise<LiveAnswer<SearchPage>> {
    const answer = await this.calls.unary(this.#methods.SearchLive, searchToWire(request), call);
    const { matches, next, reach } = answer;
    if (!reach) throw this.calls.malformed('SearchLive', 'it does not say what it speaks for');
    const page: SearchPage = {
      matches: this.calls.matches('SearchLive', matches, request.limit),
      next: next ? this.calls.decoded('SearchLive', () => positionFromWire(next, 'next')) : null,
    };
    return this.#answer('SearchLive', page, reach);
  }

  #answer<T>(method: string, found: T, { version, process, partitions }: WireLiveReach): LiveAnswer<T> {
    checkVersion(version, this.calls.attempt(method));
    if (partitions.length > PARTITIONS_MAX) throw this.calls.malformed(method, `${partitions.length} partitions`);
    return {
      found,
      process,
      partitions: partitions.map(
        ({ partition, owned, ageMs, searchable }): LivePartition => ({
          partition,
          owned,
          ageMs: ageMs === undefined || ageMs === null ? null : Number(ageMs),
          searchable,
        }),
      ),
    };
  }
}
