import { Client, type ClientReadableStream, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import { decodeFeedRecord, decodeTraceMetadata } from '../index/feed-codec.js';
import type { IndexDigest } from '../index/trace-index.js';
import { parseRegionId, type RegionId, type TraceId, traceIdBytes } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
import type { TraceMetadata } from '../model/metadata.js';
import type { SearchRequest } from '../model/query.js';
import type { ChannelSecurity } from '../runtime/channel-security.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { PartState } from '../runtime/service.js';
import { checkVersion, positionFromWire, searchToWire } from './convert.js';
import { MESSAGE_BYTES_MAX, REGION_API_VERSION, regionApiService, type WireMissingPart } from './messages.js';
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
import { fromServiceError } from './status-codes.js';

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
  readonly #region: RegionId;
  readonly #client: Client;
  readonly #methods = regionApiService();

  constructor({ region, address, security }: GrpcRegionClientOptions) {
    this.#region = region;
    this.#client = new Client(address, security.grpcChannel(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      // A region that comes back is found within a second; the default backs off to two minutes.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      // A peer that hangs (stopped, cut off) must not hold a stream open for ever.
      'grpc.keepalive_time_ms': 5000,
      'grpc.keepalive_timeout_ms': 3000,
    });
  }

  close(): void {
    this.#client.close();
  }

  async getTrace(request: TraceRequest, call: CallOptions): Promise<RegionTrace> {
    const segments: RegionSegment[] = [];
    let bytes = 0;
    const parts = this.#stream(
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
        checkVersion(end.version, this.#attempt('GetTrace'));
        return { segments, truncated: end.truncated, missing: this.#missing(end.missing) };
      }
      if (!segment) throw this.#malformed('GetTrace', 'a part that is neither segment nor end');
      bytes += segment.tracesData.length;
      if (bytes > LIMITS.traceBytesMax) {
        throw new MeridianError(
          'too-large',
          `${this.#attempt('GetTrace')}: over ${LIMITS.traceBytesMax} bytes`,
          'never',
        );
      }
      segments.push({
        payload: segment.tracesData,
        live: segment.live,
        receivedFirstMs: Number(segment.receivedFirstMs),
        receivedLastMs: Number(segment.receivedLastMs),
        metadata: this.#decoded('GetTrace', () => decodeTraceMetadata(segment.metadata)),
      });
    }
    throw this.#malformed('GetTrace', 'the stream ended before its end');
  }

  async search(request: SearchRequest, call: CallOptions): Promise<RegionSearchPage> {
    const answer = await this.#unary(this.#methods.Search, searchToWire(request), call);
    checkVersion(answer.version, this.#attempt('Search'));
    if (answer.matches.length > request.limit) throw this.#malformed('Search', 'more matches than were asked for');
    return this.#decoded('Search', () => ({
      matches: answer.matches.map(({ position, metadata }) => {
        if (!position) throw this.#malformed('Search', 'a match without its position');
        return { position: positionFromWire(position, 'match'), metadata: decodeTraceMetadata(metadata) };
      }),
      next: answer.next ? positionFromWire(answer.next, 'next') : null,
      missing: this.#missing(answer.missing),
    }));
  }

  async status(call: CallOptions): Promise<RegionStatus> {
    const answer = await this.#unary(this.#methods.GetStatus, { version: REGION_API_VERSION }, call);
    checkVersion(answer.version, this.#attempt('GetStatus'));
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
      for await (const chunk of this.#stream(this.#methods.FollowTopic, request, signal)) {
        checkVersion(chunk.version, this.#attempt('FollowTopic'));
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
    const answer = await this.#unary(this.#methods.GetIndexDigests, { version: REGION_API_VERSION, region }, call);
    checkVersion(answer.version, this.#attempt('GetIndexDigests'));
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
    const answer = await this.#unary(
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
    checkVersion(answer.version, this.#attempt('GetIndexBucket'));
    return this.#decoded('GetIndexBucket', () => decodeFeedRecord(answer.feedRecord).traces);
  }

  #attempt(method: string): string {
    return `${method} at region ${this.#region}`;
  }

  #malformed(method: string, why: string): MeridianError {
    return new MeridianError('malformed', `${this.#attempt(method)}: answer makes no sense: ${why}`, 'later');
  }

  /** Whatever decoding throws is the peer's fault: `malformed`, naming it. */
  #decoded<T>(method: string, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof MeridianError && error.code === 'unknown-version') throw error;
      throw this.#malformed(method, messageOf(error));
    }
  }

  #regionName(text: string): RegionId {
    const region = parseRegionId(text);
    if (!region) throw this.#malformed('GetStatus', `"${text.slice(0, 40)}" is no region name`);
    return region;
  }

  #missing(parts: readonly WireMissingPart[]): MissingPart[] {
    return parts.map(({ part, reason, sinceMs }) => ({ part, reason, sinceMs: Number(sinceMs) }));
  }

  #unary<Q, A>(method: MethodDefinition<Q, A>, request: Q, { deadlineMs, signal }: CallOptions): Promise<A> {
    const attempt = this.#attempt(method.originalName ?? method.path);
    return new Promise((resolve, reject) => {
      const abort = () => call.cancel();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        { deadline: Date.now() + deadlineMs },
        (error: ServiceError | null, answer?: A) => {
          signal?.removeEventListener('abort', abort);
          if (error) reject(fromServiceError(error, attempt));
          else resolve(answer as A);
        },
      );
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort, { once: true });
    });
  }

  async *#stream<Q, A>(
    method: MethodDefinition<Q, A>,
    request: Q,
    signal: AbortSignal | undefined,
    deadlineMs?: number,
  ): AsyncIterable<A> {
    const attempt = this.#attempt(method.originalName ?? method.path);
    const call: ClientReadableStream<A> = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    );
    const abort = () => call.cancel();
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
    try {
      for await (const message of call) yield message as A;
    } catch (error) {
      if (error instanceof MeridianError) throw error;
      throw fromServiceError(error as ServiceError, attempt);
    } finally {
      signal?.removeEventListener('abort', abort);
      call.cancel();
    }
  }
}
