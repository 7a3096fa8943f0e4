import { decodeFeedRecord, decodeTraceMetadata } from '../index/feed-codec.js';
import type { IndexDigest } from '../index/trace-index.js';
import { parseRegionId, type RegionId, type TraceId, traceIdBytes } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
import type { TraceMetadata } from '../model/metadata.js';
import type { SearchRequest } from '../model/query.js';
import type { ChannelSecurity } from '../runtime/channel-security.js';
import { MeridianError } from '../runtime/errors.js';
import type { PartState } from '../runtime/service.js';
import { checkVersion, positionFromWire, searchToWire } from './convert.js';
import { REGION_API_VERSION, regionApiService, type WireMissingPart } from './messages.js';
import { RegionCalls } from './region-calls.js';
import type {
  CallOptions,
  FollowedRecords,
  LinkStatus,
  MissingPart,
  RegionClient,
  RegionSearchPage,
  RegionSegment,
  RegionStatus,
  RegionTrace,
  TraceRequest,
} from './region-client.js';

export interface GrpcRegionClientOptions {
  /** The region that is asked; named in every error. */
  readonly region: RegionId;
  /** host:port */
  readonly address: string;
  readonly security: ChannelSecurity;
}

/** A channel to one region's API. It connects when it is first used and reconnects by itself. */
export function createGrpcRegionClient(options: GrpcRegionClientOptions): RegionClient {
  return new GrpcRegionClient(options);
}

class GrpcRegionClient implements RegionClient {
  readonly #calls: RegionCalls;
  readonly #methods = regionApiService();

  constructor({ region, address, security }: GrpcRegionClientOptions) {
    this.#calls = new RegionCalls({ of: `region ${region}`, address, security });
  }

  close(): void {
    this.#calls.close();
  }

  async getTrace(request: TraceRequest, call: CallOptions): Promise<RegionTrace> {
    const segments: RegionSegment[] = [];
    let bytes = 0;
    const parts = this.#calls.stream(
      this.#methods.GetTrace,
      {
        version: REGION_API_VERSION,
        source: request.source,
        traceId: traceIdBytes(request.traceId),
        blockIds: [...request.blocks],
        bytesMax: String(request.bytesMax),
      },
      call.signal,
      call.deadlineMs,
    );
    for await (const { segment, end } of parts) {
      if (end) {
        checkVersion(end.version, this.#calls.attempt('GetTrace'));
        return { segments, truncated: end.truncated, missing: this.#missing(end.missing) };
      }
      if (!segment) throw this.#calls.malformed('GetTrace', 'a part that is neither segment nor end');
      bytes += segment.tracesData.length;
      if (bytes > LIMITS.traceBytesMax) {
        throw new MeridianError(
          'too-large',
          `${this.#calls.attempt('GetTrace')}: over ${LIMITS.traceBytesMax} bytes`,
          'never',
        );
      }
      segments.push({
        payload: segment.tracesData,
        live: segment.live,
        receivedFirstMs: Number(segment.receivedFirstMs),
        receivedLastMs: Number(segment.receivedLastMs),
        metadata: this.#calls.decoded('GetTrace', () => decodeTraceMetadata(segment.metadata)),
      });
    }
    throw this.#calls.malformed('GetTrace', 'the stream ended before its end');
  }

  async search(request: SearchRequest, call: CallOptions): Promise<RegionSearchPage> {
    const answer = await this.#calls.unary(this.#methods.Search, searchToWire(request), call);
    checkVersion(answer.version, this.#calls.attempt('Search'));
    return {
      matches: this.#calls.matches('Search', answer.matches, request.limit),
      next: answer.next ? this.#calls.decoded('Search', () => positionFromWire(answer.next!, 'next')) : null,
      missing: this.#missing(answer.missing),
    };
  }

  async status(call: CallOptions): Promise<RegionStatus> {
    const answer = await this.#calls.unary(this.#methods.GetStatus, { version: REGION_API_VERSION }, call);
    checkVersion(answer.version, this.#calls.attempt('GetStatus'));
    return {
      region: this.#regionName(answer.region),
      parts: answer.parts.map((p) => ({
        part: p.part,
        state: p.state as PartState,
        ...(p.detail ? { detail: p.detail } : {}),
        ...(p.sinceMs !== '0' ? { sinceMs: Number(p.sinceMs) } : {}),
      })),
      links: answer.links.map((l) => ({
        from: this.#regionName(l.from),
        lagMs: Number(l.lagMs),
        state: l.state as LinkStatus['state'],
      })),
      startedMs: Number(answer.startedMs),
    };
  }

  async *followTopic(
    topic: string,
    partition: number,
    fromOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<FollowedRecords> {
    const request = { version: REGION_API_VERSION, topic, partition, fromOffset: String(fromOffset) };
    try {
      for await (const chunk of this.#calls.stream(this.#methods.FollowTopic, request, signal)) {
        checkVersion(chunk.version, this.#calls.attempt('FollowTopic'));
        yield {
          endOffset: Number(chunk.endOffset),
          records: chunk.records.map((record) => ({
            offset: Number(record.offset),
            appendedMs: Number(record.appendedMs),
            key: record.key ?? null,
            value: record.value,
            headers: record.headers ?? {},
          })),
        };
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async indexDigests(region: RegionId, call: CallOptions): Promise<readonly IndexDigest[]> {
    const answer = await this.#calls.unary(
      this.#methods.GetIndexDigests,
      { version: REGION_API_VERSION, region },
      call,
    );
    checkVersion(answer.version, this.#calls.attempt('GetIndexDigests'));
    return answer.digests.map((digest) => ({
      region,
      bucketStartMs: Number(digest.bucketStartMs),
      recordCount: Number(digest.recordCount),
      hash: digest.hash,
    }));
  }

  async indexBucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
    call: CallOptions,
  ): Promise<readonly TraceMetadata[]> {
    const answer = await this.#calls.unary(
      this.#methods.GetIndexBucket,
      {
        version: REGION_API_VERSION,
        region,
        bucketStartMs: String(bucketStartMs),
        afterTraceId: after ? traceIdBytes(after) : Buffer.alloc(0),
        limit,
      },
      call,
    );
    checkVersion(answer.version, this.#calls.attempt('GetIndexBucket'));
    return this.#calls.decoded('GetIndexBucket', () => decodeFeedRecord(answer.feedRecord).traces);
  }

  #regionName(text: string): RegionId {
    const region = parseRegionId(text);
    if (!region) throw this.#calls.malformed('GetStatus', `"${text.slice(0, 40)}" is no region name`);
    return region;
  }

  #missing(parts: readonly WireMissingPart[]): MissingPart[] {
    return parts.map(({ part, reason, sinceMs }) => ({ part, reason, sinceMs: Number(sinceMs) }));
  }
}
