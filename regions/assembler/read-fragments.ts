import type { LogRecord } from '../../global/log/span-log.js';
import { splitByTrace } from '../../global/otlp/split.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { readSpansRecordInfo } from '../log/spans-record.js';
import { summarize } from '../segments/summarize.js';
import type { PartitionCatalogue } from './catalogue-window.js';
import type { Fragment } from './open-traces.js';
import type { AssemblerShared } from './shared.js';
import type { StampWindow } from './stamp-window.js';

/**
 * The fragments of a record of `spans`, one per trace; null for a record that was read already under another offset. Throws
 * `malformed` where the record cannot be read, before any of it was used.
 */
export function readFragments(
  record: LogRecord,
  partition: number,
  shared: Pick<AssemblerShared, 'source' | 'names' | 'clock'>,
  stamps: StampWindow,
  catalogue: PartitionCatalogue,
): Fragment[] | null {
  const { stamp, receivedMs } = readSpansRecordInfo(record, partition);
  const { source: region, names, clock } = shared;
  const nowMs = clock.nowMs();
  const fragments = splitByTrace(asBuffer(record.value)).map(({ traceId, bytes, spanCount }) => {
    const payload = inOwnMemory(bytes);
    const metadata = summarize(payload, {
      traceId,
      region,
      receivedMs,
      names,
      onOperation: (service, operation, kind) => catalogue.see(service, operation, kind, nowMs),
    });
    return { traceId, payload, metadata, spanCount, offset: record.offset, receivedMs };
  });
  return stamps.isNew(stamp) ? fragments : null;
}

/** A part of a shared pool would keep all of the pool's memory for as long as its trace is open. */
function inOwnMemory(bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength === bytes.byteLength) return bytes;
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}
