import { parseTraceId, type RegionId, type TraceId, traceIdAt, traceIdBytes } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
import type { SearchPosition, SearchRequest, SpanQuery } from '../model/query.js';
import { MeridianError } from '../runtime/errors.js';
import { REGION_API_VERSION, type WirePosition, type WireSearchRequest } from './messages.js';

/** Between the messages of region.proto and the model. What comes from a peer is checked here, and `malformed` when it makes no sense. */

export function checkVersion(version: number, what: string): void {
  if (version !== REGION_API_VERSION) {
    throw new MeridianError(
      'unknown-version',
      `${what}: version ${version} of the region API; this build speaks ${REGION_API_VERSION}`,
      'never',
    );
  }
}

export function traceIdFromWire(bytes: Buffer, what: string): TraceId {
  const id = bytes.length === 16 ? parseTraceId(traceIdAt(bytes, 0)) : null;
  if (!id) throw new MeridianError('malformed', `${what}: trace id of ${bytes.length} bytes is none`, 'never');
  return id;
}

export function positionFromWire(wire: WirePosition, what: string): SearchPosition {
  return { startUnixNano: BigInt(wire.startUnixNano), traceId: traceIdFromWire(wire.traceId, what) };
}

export function positionToWire(position: SearchPosition): WirePosition {
  return { startUnixNano: position.startUnixNano.toString(), traceId: traceIdBytes(position.traceId) };
}

export function searchToWire(request: SearchRequest): WireSearchRequest {
  const { query } = request;
  return {
    version: REGION_API_VERSION,
    source: request.source,
    service: query.service ?? '',
    operation: query.operation ?? '',
    attributes: query.attributes.map(({ key, value }) => ({ key, value })),
    ...(query.error === undefined ? {} : { error: query.error }),
    ...(query.kind === undefined ? {} : { kind: query.kind }),
    ...(query.durationNanoMin === undefined ? {} : { durationNanoMin: query.durationNanoMin.toString() }),
    ...(query.durationNanoMax === undefined ? {} : { durationNanoMax: query.durationNanoMax.toString() }),
    startUnixNanoMin: query.startUnixNanoMin.toString(),
    startUnixNanoMax: query.startUnixNanoMax.toString(),
    traceIds: (query.traceIds ?? []).map(traceIdBytes),
    ...(request.after ? { after: positionToWire(request.after) } : {}),
    limit: request.limit,
  };
}

/** Throws `invalid` beyond the limits of a search. `source` has been checked by the caller. */
export function searchFromWire(wire: WireSearchRequest, source: RegionId): SearchRequest {
  if (wire.limit < 1 || wire.limit > LIMITS.searchLimitMax) {
    throw new MeridianError('invalid', `search: limit ${wire.limit} is not in 1..${LIMITS.searchLimitMax}`, 'never');
  }
  if (wire.traceIds.length > LIMITS.searchLimitMax || wire.attributes.length > 64) {
    throw new MeridianError('invalid', 'search: more than 1,000 trace ids or 64 attribute conditions', 'never');
  }
  const query: SpanQuery = {
    ...(wire.service ? { service: wire.service } : {}),
    ...(wire.operation ? { operation: wire.operation } : {}),
    attributes: wire.attributes,
    ...(wire.error === undefined ? {} : { error: wire.error }),
    ...(wire.kind === undefined ? {} : { kind: wire.kind }),
    ...(wire.durationNanoMin === undefined ? {} : { durationNanoMin: BigInt(wire.durationNanoMin) }),
    ...(wire.durationNanoMax === undefined ? {} : { durationNanoMax: BigInt(wire.durationNanoMax) }),
    startUnixNanoMin: BigInt(wire.startUnixNanoMin),
    startUnixNanoMax: BigInt(wire.startUnixNanoMax),
    ...(wire.traceIds.length ? { traceIds: wire.traceIds.map((id) => traceIdFromWire(id, 'search')) } : {}),
  };
  const after = wire.after ? positionFromWire(wire.after, 'search: after') : null;
  return { query, source, after, limit: wire.limit };
}
