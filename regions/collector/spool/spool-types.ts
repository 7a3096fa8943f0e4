import type { LogEntry } from '../../../global/log/span-log.js';
import type { SpoolClass } from './spool-class.js';

/** A record on its way into the spool. */
export interface SpoolRecord {
  readonly partition: number;
  readonly sequence: number;
  readonly arrivedMs: number;
  readonly entry: LogEntry;
}

/** Where a frame stands. */
export interface Place {
  readonly partition: number;
  readonly sequence: number;
  readonly segment: number;
  readonly at: number;
  readonly spanCount: number;
  /** Of its value in memory. */
  readonly valueBytes: number;
}

export interface SpoolObserver {
  /** A record's pieces are durable, or (after a write that failed in part) are there all the same. Before the `put` is settled. */
  stored(places: readonly Place[]): void;
  /** A segment is no more: none of its places can be read. */
  evicted(segment: number): void;
  /** Acknowledged spans that were given up for a higher class. */
  dropped(spoolClass: SpoolClass, spanCount: number): void;
  refused(reason: 'full' | 'disk' | 'too-large' | 'queue'): void;
  /** Spans that cannot be read back. */
  damaged(spanCount: number): void;
}

export interface SpoolState {
  readonly bytes: number;
  readonly records: number;
  readonly spans: readonly [routine: number, notable: number, vital: number];
  /** Arrival of the oldest that is there (of its file, so a little older at times); null for an empty spool. */
  readonly oldestMs: number | null;
  /** Why the disk took nothing the last time; null where it did. */
  readonly diskFailure: string | null;
  /** Whether the last record was refused for want of room. */
  readonly isFull: boolean;
}
