import { join } from 'node:path';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { packageRoot } from '../runtime/package-root.js';

/** The messages of region.proto as the loader gives them: 64-bit numbers are decimal strings, absent fields have defaults. */

/** Of every request and answer; a peer with another one refuses with `unknown-version`. */
export const REGION_API_VERSION = 1;

/** Metadata key that carries a MeridianError's code beside the gRPC status. */
export const ERROR_CODE_METADATA = 'meridian-code';

/** Largest single message, either way: a segment is at most 4 MiB, a page of feed records 8 MiB. */
export const MESSAGE_BYTES_MAX = 32 * 1024 * 1024;

export interface WireVersioned {
  version: number;
}

export interface WireGetTraceRequest extends WireVersioned {
  source: string;
  traceId: Buffer;
  blockIds: string[];
  bytesMax: string;
}

export interface WireTracePart {
  segment?: WireSegmentPart | null;
  end?: WireTraceEnd | null;
}

export interface WireSegmentPart {
  tracesData: Buffer;
  live: boolean;
  receivedFirstMs: string;
  receivedLastMs: string;
  metadata: Buffer;
}

export interface WireTraceEnd extends WireVersioned {
  truncated: boolean;
  missing: WireMissingPart[];
}

export interface WireMissingPart {
  part: string;
  reason: string;
  sinceMs: string;
}

export interface WireSearchRequest extends WireVersioned {
  source: string;
  service: string;
  operation: string;
  attributes: { key: string; value: string }[];
  error?: boolean;
  kind?: number;
  durationNanoMin?: string;
  durationNanoMax?: string;
  startUnixNanoMin: string;
  startUnixNanoMax: string;
  traceIds: Buffer[];
  after?: WirePosition | null;
  limit: number;
}

export interface WirePosition {
  startUnixNano: string;
  traceId: Buffer;
}

export interface WireSearchResponse extends WireVersioned {
  matches: { position: WirePosition | null; metadata: Buffer }[];
  next?: WirePosition | null;
  missing: WireMissingPart[];
}

export interface WireGetLiveRequest extends WireVersioned {
  source: string;
  traceId: Buffer;
}

export interface WireLivePart {
  segment?: WireSegmentPart | null;
  reach?: WireLiveReach | null;
}

export interface WireLiveReach extends WireVersioned {
  process: string;
  partitions: WireLivePartition[];
}

export interface WireLivePartition {
  partition: number;
  owned: boolean;
  ageMs?: string;
  searchable: boolean;
}

export interface WireSearchLiveResponse {
  matches: { position: WirePosition | null; metadata: Buffer }[];
  next?: WirePosition | null;
  reach?: WireLiveReach | null;
}

export interface WireFollowTopicRequest extends WireVersioned {
  topic: string;
  partition: number;
  fromOffset: string;
}

export interface WireTopicRecords extends WireVersioned {
  records: WireTopicRecord[];
  endOffset: string;
}

export interface WireTopicRecord {
  offset: string;
  appendedMs: string;
  key?: Buffer;
  value: Buffer;
  headers: Record<string, Buffer>;
}

export interface WireIndexDigestsRequest extends WireVersioned {
  region: string;
}

export interface WireIndexDigestsResponse extends WireVersioned {
  digests: { bucketStartMs: string; recordCount: string; hash: string }[];
}

export interface WireIndexBucketRequest extends WireVersioned {
  region: string;
  bucketStartMs: string;
  afterTraceId: Buffer;
  limit: number;
}

export interface WireIndexBucketResponse extends WireVersioned {
  feedRecord: Buffer;
}

export type WireStatusRequest = WireVersioned;

export interface WireStatusResponse extends WireVersioned {
  region: string;
  parts: { part: string; state: string; detail: string; sinceMs: string }[];
  links: { from: string; lagMs: string; state: string }[];
  startedMs: string;
}

/** The methods with their request and answer types. */
export interface RegionApiMethods {
  readonly GetTrace: MethodDefinition<WireGetTraceRequest, WireTracePart>;
  readonly Search: MethodDefinition<WireSearchRequest, WireSearchResponse>;
  readonly FollowTopic: MethodDefinition<WireFollowTopicRequest, WireTopicRecords>;
  readonly GetIndexDigests: MethodDefinition<WireIndexDigestsRequest, WireIndexDigestsResponse>;
  readonly GetIndexBucket: MethodDefinition<WireIndexBucketRequest, WireIndexBucketResponse>;
  readonly GetStatus: MethodDefinition<WireStatusRequest, WireStatusResponse>;
  readonly GetLive: MethodDefinition<WireGetLiveRequest, WireLivePart>;
  readonly SearchLive: MethodDefinition<WireSearchRequest, WireSearchLiveResponse>;
}

let loaded: (ServiceDefinition & RegionApiMethods) | undefined;

/** The service of region.proto, read from the installation once. */
export function regionApiService(): ServiceDefinition & RegionApiMethods {
  loaded ??= loadSync(join(packageRoot, 'global/region-api/region.proto'), {
    longs: String,
    defaults: true,
    oneofs: false,
  })['meridian.region.v1.RegionApi'] as unknown as ServiceDefinition & RegionApiMethods;
  return loaded;
}
