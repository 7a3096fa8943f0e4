import { type handleServerStreamingCall, Server, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { encodeFeedRecord, encodeTraceMetadata } from '../../global/index/feed-codec.js';
import type { IndexDigests } from '../../global/index/trace-index.js';
import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import { checkVersion, positionToWire, searchFromWire, traceIdFromWire } from '../../global/region-api/convert.js';
import {
  MESSAGE_BYTES_MAX,
  REGION_API_VERSION,
  regionApiService,
  type WireFollowTopicRequest,
  type WireGetTraceRequest,
  type WireIndexBucketRequest,
  type WireIndexBucketResponse,
  type WireIndexDigestsRequest,
  type WireIndexDigestsResponse,
  type WireMissingPart,
  type WireSearchRequest,
  type WireSearchResponse,
  type WireStatusRequest,
  type WireStatusResponse,
  type WireTopicRecords,
  type WireTracePart,
} from '../../global/region-api/messages.js';
import type { MissingPart, RegionStatus } from '../../global/region-api/region-client.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import type { ChannelSecurity, ListenAddress } from '../../global/runtime/channel-security.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { closeGrpc, listenGrpc } from '../../global/runtime/listening.js';
import type { Service } from '../../global/runtime/service.js';
import type { LogTail } from '../log/log-tail.js';
import { answerStream, unary, writeMessage } from './grpc-handlers.js';
import { liveHandlers, type OwnLive } from './live-api.js';
import type { RegionReads } from './region-reads.js';

export interface RegionApiServerOptions {
  readonly region: RegionId;
  readonly reads: RegionReads;
  /** What the other processes of the region may ask of this one. Left out: it is the only one, and they are refused. */
  readonly own?: OwnLive;
  readonly index: IndexDigests;
  /** Absent where the mirror is not the embedded one: FollowTopic then answers `not-found`. */
  readonly tail: LogTail | null;
  /** Topics that other regions may follow. */
  readonly followable: readonly string[];
  readonly status: () => Promise<RegionStatus>;
  readonly listen: ListenAddress;
  readonly security: ChannelSecurity;
  readonly clock: Clock;
}

export interface RegionApiServer extends Service {
  readonly address: ListenAddress;
}

/** Serves region.proto from the region's parts. Answers carry what was found and name what could not be asked. */
export function createRegionApiServer(options: RegionApiServerOptions): RegionApiServer {
  const { region, reads, index, tail, followable, listen, security, clock } = options;
  const server = new Server({
    'grpc.max_receive_message_length': 4 * 1024 * 1024,
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  });
  let address = listen;
  const followers = new Set<AbortController>();

  const source = (text: string): RegionId => {
    const asked = parseRegionId(text);
    if (asked !== region) {
      throw new MeridianError('refused', `region ${region} holds no segments of "${text.slice(0, 40)}"`, 'never');
    }
    return asked;
  };

  const getTrace: handleServerStreamingCall<WireGetTraceRequest, WireTracePart> = (call) =>
    answerStream(call, async () => {
      const { version, blockIds, bytesMax, traceId, source: asked } = call.request;
      checkVersion(version, 'GetTrace');
      const trace = await reads.getTrace({
        source: source(asked),
        traceId: traceIdFromWire(traceId, 'GetTrace'),
        blocks: blockIds.slice(0, 1000) as never[],
        bytesMax: Math.min(Number(bytesMax) || LIMITS.traceBytesMax, LIMITS.traceBytesMax),
      });
      for (const segment of trace.segments) {
        await writeMessage(call, {
          segment: {
            tracesData: segment.payload,
            live: segment.live,
            receivedFirstMs: String(segment.receivedFirstMs),
            receivedLastMs: String(segment.receivedLastMs),
            metadata: encodeTraceMetadata(segment.metadata),
          },
        });
      }
      const { truncated, missing } = trace;
      await writeMessage(call, {
        end: { version: REGION_API_VERSION, truncated, missing: missing.map(missingToWire) },
      });
    });

  const search = unary<WireSearchRequest, WireSearchResponse>(async (request, signal) => {
    checkVersion(request.version, 'Search');
    const page = await reads.search(searchFromWire(request, source(request.source)), signal);
    return {
      version: REGION_API_VERSION,
      matches: page.matches.map(({ position, metadata }) => ({
        position: positionToWire(position),
        metadata: encodeTraceMetadata(metadata),
      })),
      ...(page.next ? { next: positionToWire(page.next) } : {}),
      missing: page.missing.map(missingToWire),
    };
  });

  const followTopic: handleServerStreamingCall<WireFollowTopicRequest, WireTopicRecords> = (call) =>
    answerStream(call, async () => {
      const { version, topic, partition, fromOffset } = call.request;
      checkVersion(version, 'FollowTopic');
      if (!tail || !followable.includes(topic)) {
        throw new MeridianError(
          'not-found',
          `topic "${topic.slice(0, 80)}" of region ${region} cannot be followed`,
          'never',
        );
      }
      const stop = new AbortController();
      followers.add(stop);
      call.on('cancelled', () => stop.abort());
      try {
        for await (const { records, endOffset } of tail.follow(topic, partition, Number(fromOffset), stop.signal)) {
          await writeMessage(call, {
            version: REGION_API_VERSION,
            endOffset: String(endOffset),
            records: records.map((record) => ({
              offset: String(record.offset),
              appendedMs: String(record.appendedMs),
              ...(record.key ? { key: asBuffer(record.key) } : {}),
              value: asBuffer(record.value),
              headers: Object.fromEntries(Object.entries(record.headers).map(([name, v]) => [name, asBuffer(v)])),
            })),
          });
        }
      } finally {
        followers.delete(stop);
      }
    });

  const digests = unary<WireIndexDigestsRequest, WireIndexDigestsResponse>(async (request) => {
    checkVersion(request.version, 'GetIndexDigests');
    const found = await index.digests(anyRegion(request.region));
    return {
      version: REGION_API_VERSION,
      digests: found.map(({ bucketStartMs, recordCount, hash }) => ({
        bucketStartMs: String(bucketStartMs),
        recordCount: String(recordCount),
        hash,
      })),
    };
  });

  const bucket = unary<WireIndexBucketRequest, WireIndexBucketResponse>(async (request) => {
    checkVersion(request.version, 'GetIndexBucket');
    const of = anyRegion(request.region);
    const after = request.afterTraceId.length ? traceIdFromWire(request.afterTraceId, 'GetIndexBucket') : null;
    const limit = Math.min(Math.max(request.limit, 1), 1000);
    const traces = await index.bucket(of, Number(request.bucketStartMs), after, limit);
    // Blocks are of use in the region that made them only.
    const feedRecord = encodeFeedRecord({
      region: of,
      traces: traces.map((trace) => ({ ...trace, blocks: [] })),
      watermark: null,
      catalogue: [],
    });
    return { version: REGION_API_VERSION, feedRecord };
  });

  const status = unary<WireStatusRequest, WireStatusResponse>(async (request) => {
    checkVersion(request.version, 'GetStatus');
    const { parts, links, startedMs } = await options.status();
    return {
      version: REGION_API_VERSION,
      region,
      parts: parts.map(({ part, state, detail, sinceMs }) => ({
        part,
        state,
        detail: detail ?? '',
        sinceMs: String(sinceMs ?? 0),
      })),
      links: links.map(({ from, lagMs, state }) => ({ from, lagMs: String(Math.round(lagMs)), state })),
      startedMs: String(startedMs),
    };
  });

  server.addService(regionApiService(), {
    GetTrace: getTrace,
    Search: search,
    FollowTopic: followTopic,
    GetIndexDigests: digests,
    GetIndexBucket: bucket,
    GetStatus: status,
    ...liveHandlers(options.own, source),
  } as unknown as UntypedServiceImplementation);

  return {
    get address() {
      return address;
    },
    start: async () => {
      address = await listenGrpc(server, listen, { name: 'region API', option: 'regionApiPort' }, security);
    },
    stop: async () => {
      for (const follower of followers) follower.abort();
      await closeGrpc(server, DRAIN_MS, clock);
    },
  };
}

/** How long a stop lets calls in progress finish. */
const DRAIN_MS = 2000;

function anyRegion(text: string): RegionId {
  const region = parseRegionId(text);
  if (!region) throw new MeridianError('invalid', `"${text.slice(0, 40)}" is no region name`, 'never');
  return region;
}

function missingToWire({ part, reason, sinceMs }: MissingPart): WireMissingPart {
  return { part, reason, sinceMs: String(sinceMs) };
}
