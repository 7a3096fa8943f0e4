import type { LogEntry } from '../../../global/log/span-log.js';

export interface DurableAppend {
  /** Of the first entry in the log; -1 where it is durable elsewhere, on its way into the log. */
  readonly firstOffset: number;
  /** The bytes of the entries are still read: the caller must not reuse them, ever. Absent: it may. */
  readonly isStillRead?: true;
}

/** What the collector appends to: a `LogAppender`, or one with a spool before it. Else as `LogAppender.append` says. */
export interface DurableAppender {
  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<DurableAppend>;
}
