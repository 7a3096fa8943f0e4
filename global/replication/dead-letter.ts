import type { LogEntry, LogHeaders } from '../log/span-log.js';
import { MeridianError } from '../runtime/errors.js';

/**
 * A record that could not be used, kept aside in a `.dlq` topic: key and value as they were, headers too, and one more header
 * `meridian-dead-letter`: byte 0 version (1), then JSON (UTF-8) of `DeadLetter`.
 */
export const DEAD_LETTER_HEADER = 'meridian-dead-letter';
const VERSION = 1;

export interface DeadLetter {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** `poison`: could not be used. `resolved`: was read again later and could. */
  readonly state: 'poison' | 'resolved';
  readonly code: string;
  readonly message: string;
}

export function deadLetterEntry(
  letter: DeadLetter,
  record: { key: Uint8Array | null; value: Uint8Array; headers: LogHeaders },
): LogEntry {
  const header = Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(letter))]);
  return { key: record.key, value: record.value, headers: { ...record.headers, [DEAD_LETTER_HEADER]: header } };
}

/** Null where the header is missing. Throws `unknown-version` or `malformed`. */
export function readDeadLetter(headers: LogHeaders): DeadLetter | null {
  const header = headers[DEAD_LETTER_HEADER];
  if (!header) return null;
  if (header[0] !== VERSION) {
    throw new MeridianError('unknown-version', `dead letter: version ${header[0]}, known is ${VERSION}`, 'never');
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(header.buffer, header.byteOffset + 1, header.length - 1).toString('utf8'));
  } catch (error) {
    throw new MeridianError('malformed', 'dead letter: its header is no JSON', 'never', { cause: error });
  }
  if (!isDeadLetter(parsed)) throw new MeridianError('malformed', 'dead letter: its header lacks fields', 'never');
  return parsed;
}

function isDeadLetter(value: unknown): value is DeadLetter {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Partial<Record<keyof DeadLetter, unknown>>;
  return (
    typeof fields.topic === 'string' &&
    typeof fields.partition === 'number' &&
    typeof fields.offset === 'number' &&
    (fields.state === 'poison' || fields.state === 'resolved')
  );
}
