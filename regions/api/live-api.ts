import type { handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { encodeTraceMetadata } from '../../global/index/feed-codec.js';
import type { RegionId } from '../../global/model/ids.js';
import { checkVersion, positionToWire, searchFromWire, traceIdFromWire } from '../../global/region-api/convert.js';
import {
  REGION_API_VERSION,
  type WireGetLiveRequest,
  type WireLivePart,
  type WireLiveReach,
  type WireSearchLiveResponse,
  type WireSearchRequest,
} from '../../global/region-api/messages.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { LivePartition, LiveSegments } from '../assembler/open-traces-reader.js';
import { answerStream, unary, writeMessage } from './grpc-handlers.js';

/** What this process alone holds, for its peers. */
export interface OwnLive {
  readonly live: LiveSegments;
  /** Names this process for as long as it lives; as `PeeredLiveOptions.process`. */
  readonly process: string;
}

/** The handlers of GetLive and SearchLive: no store, no peers. `sourceOf` refuses regions whose spans are not here. */
export function liveHandlers(
  own: OwnLive | undefined,
  sourceOf: (text: string) => RegionId,
): {
  readonly GetLive: handleServerStreamingCall<WireGetLiveRequest, WireLivePart>;
  readonly SearchLive: handleUnaryCall<WireSearchRequest, WireSearchLiveResponse>;
} {
  const here = (): OwnLive => {
    if (own) return own;
    throw new MeridianError('not-found', 'this process does not answer for its part of a region alone', 'never');
  };
  return {
    GetLive: (call) =>
      answerStream(call, async () => {
        const { version, source: asked, traceId } = call.request;
        checkVersion(version, 'GetLive');
        const { live, process } = here();
        const source = sourceOf(asked);
        // In one turn: what is held, and what that speaks for.
        const reach = reachToWire(process, live.partitions(source));
        for (const segment of await live.get(source, traceIdFromWire(traceId, 'GetLive'))) {
          await writeMessage(call, {
            segment: {
              tracesData: segment.payload,
              live: true,
              receivedFirstMs: String(segment.receivedFirstMs),
              receivedLastMs: String(segment.receivedLastMs),
              metadata: encodeTraceMetadata(segment.metadata),
            },
          });
        }
        await writeMessage(call, { reach });
      }),
    SearchLive: unary(async (request, signal) => {
      checkVersion(request.version, 'SearchLive');
      const { live, process } = here();
      const source = sourceOf(request.source);
      const query = searchFromWire(request, source);
      const reach = reachToWire(process, live.partitions(source));
      const { matches, next } = await live.search(query, signal);
      return {
        matches: matches.map(({ position, metadata }) => ({
          position: positionToWire(position),
          metadata: encodeTraceMetadata(metadata),
        })),
        ...(next ? { next: positionToWire(next) } : {}),
        reach,
      };
    }),
  };
}

function reachToWire(process: string, partitions: readonly LivePartition[]): WireLiveReach {
  return {
    version: REGION_API_VERSION,
    process,
    partitions: partitions.map(({ partition, owned, ageMs, searchable }) => ({
      partition,
      owned,
      searchable,
      ...(ageMs === null ? {} : { ageMs: String(Math.max(0, Math.ceil(ageMs))) }),
    })),
  };
}
