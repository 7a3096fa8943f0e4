import type { TopicSpec } from '../../global/log/span-log.js';
import type { ErrorCode } from '../../global/runtime/errors.js';
import type { LogLimits } from './log-limits.js';

/**
 * What the log says to its thread and back. In-process only, so without a version. Requests are answered in order.
 */
export interface WorkerOptions {
  readonly folder: string;
  readonly limits: LogLimits;
}

export type LogRequest =
  | AppendRequest
  | { readonly kind: 'read'; readonly reads: readonly PartitionRead[] }
  | { readonly kind: 'ensure'; readonly topics: readonly TopicSpec[] }
  | { readonly kind: 'commit'; readonly commits: readonly CommitRow[] }
  | { readonly kind: 'offsetAt'; readonly topic: string; readonly partition: number; readonly timeMs: number }
  | { readonly kind: 'expire'; readonly nowMs: number }
  | { readonly kind: 'close' };

/**
 * One round of appends. The bytes of the entries lie in `buffer`, one after the other in the order of `topics` and their entries, each
 * as key, headers, value. The buffer is the thread's until it has answered.
 */
export interface AppendRequest {
  readonly kind: 'append';
  readonly nowMs: number;
  readonly buffer: SharedArrayBuffer;
  readonly topics: readonly { readonly topic: string; readonly entries: readonly number[] }[];
}

/** Numbers per entry in `AppendRequest.topics[].entries`: partition, bytes of the key (-1: null), of the headers, of the value. */
export const ENTRY_NUMBERS = 4;

/** Per topic of the request: the offset of each entry, or why none of them was appended. */
export type AppendResult = { readonly offsets: readonly number[] } | { readonly error: WireError };

export interface PartitionRead {
  readonly topic: string;
  readonly partition: number;
  readonly fromOffset: number;
  readonly bytesMax: number;
}

/** The records of one read, laid out as in `AppendRequest`. */
export interface ReadRecords {
  readonly buffer: ArrayBuffer;
  /** `RECORD_NUMBERS` per record: offset, time of the append, bytes of the key (-1: null), of the headers, of the value. */
  readonly records: readonly number[];
}
export const RECORD_NUMBERS = 5;

/** Null: not served, because the answer was full; ask again. */
export type ReadResult = ReadRecords | { readonly error: WireError } | null;

export type CommitRow = readonly [group: string, topic: string, partition: number, nextOffset: number];

export interface TopicState {
  readonly spec: TopicSpec;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

export interface ExpiredTopic {
  readonly topic: string;
  readonly starts: readonly number[];
  readonly error?: WireError;
}

/** What the thread says once it has opened the folder. */
export type WorkerReady =
  | { readonly ready: true; readonly topics: readonly TopicState[]; readonly commits: readonly CommitRow[] }
  | { readonly ready: false; readonly error: WireError };

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retry: 'never' | 'later';
}

/** The answer to each kind of request. */
export interface LogAnswers {
  append: readonly AppendResult[];
  read: readonly ReadResult[];
  ensure: readonly TopicState[];
  commit: null;
  offsetAt: number;
  expire: readonly ExpiredTopic[];
  close: null;
}

export type LogReply = { readonly answer: LogAnswers[keyof LogAnswers] } | { readonly error: WireError };
