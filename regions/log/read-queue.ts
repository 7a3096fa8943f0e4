import type { LogRecord } from '../../global/log/span-log.js';
import { decodeHeaders } from './headers-codec.js';
import { type PartitionRead, RECORD_NUMBERS, type ReadRecords, type ReadResult } from './log-protocol.js';
import { fromWireError } from './sqlite-errors.js';

interface QueuedRead {
  readonly read: PartitionRead;
  resolve(records: readonly LogRecord[]): void;
  reject(error: Error): void;
}

/** Reads that go into one request. */
const READS_MAX = 256;

/**
 * One request for reads is under way at a time, for all partitions that want to be read by then: a busy log is asked
 * seldom and for much, and an append waits for one bounded read at most.
 */
export class ReadQueue {
  #queue: QueuedRead[] = [];
  #running = false;

  constructor(private readonly ask: (reads: readonly PartitionRead[]) => Promise<readonly ReadResult[]>) {}

  read(read: PartitionRead): Promise<readonly LogRecord[]> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ read, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      queueMicrotask(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const reads = this.#queue.splice(0, READS_MAX);
      try {
        const results = await this.ask(reads.map((queued) => queued.read));
        const unserved = reads.filter((_, index) => results[index] === null);
        this.#queue.unshift(...unserved);
        for (const [index, queued] of reads.entries()) settle(queued, results[index]!);
      } catch (error) {
        for (const queued of reads) queued.reject(error instanceof Error ? error : new Error(String(error)));
      }
    }
    this.#running = false;
  }
}

function settle(queued: QueuedRead, result: ReadResult): void {
  if (result === null) return;
  if ('error' in result) {
    queued.reject(fromWireError(result.error));
    return;
  }
  try {
    queued.resolve(decodeRecords(result));
  } catch (error) {
    queued.reject(error instanceof Error ? error : new Error(String(error)));
  }
}

/** Keys, headers and values are views of one buffer per read. */
function decodeRecords({ buffer, records }: ReadRecords): LogRecord[] {
  const decoded: LogRecord[] = [];
  let at = 0;
  for (let i = 0; i < records.length; i += RECORD_NUMBERS) {
    const keyBytes = records[i + 2]!;
    const headersAt = at + Math.max(0, keyBytes);
    const valueAt = headersAt + records[i + 3]!;
    const end = valueAt + records[i + 4]!;
    decoded.push({
      offset: records[i]!,
      appendedMs: records[i + 1]!,
      key: keyBytes < 0 ? null : Buffer.from(buffer, at, keyBytes),
      headers: decodeHeaders(Buffer.from(buffer, headersAt, valueAt - headersAt)),
      value: Buffer.from(buffer, valueAt, end - valueAt),
    });
    at = end;
  }
  return decoded;
}
