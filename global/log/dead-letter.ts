import { asBuffer } from '../runtime/bytes.js';
import { MeridianError } from '../runtime/errors.js';
import type { LogEntry, LogHeaders } from './span-log.js';

/**
 * A record that could not be used, kept aside in a `.dlq` topic: key and value as they were, headers too, and one more header
 * `meridian-dead-letter`: byte 0 version (1), then JSON (UTF-8) of `DeadLetter`. One format for the dead letters of all topics.
 */
export const DEAD_LETTER_HEADER = 'meridian-dead-letter';
/** Of the message, in UTF-16 units; the rest is cut off. */
export const DEAD_LETTER_MESSAGE_CHARACTERS_MAX = 1024;
const VERSION = 1;

/** Where the record stood, and why it is here. */
export interface DeadLetter {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** `poison`: could not be used. `resolved`: was read again later and could. */
  readonly state: 'poison' | 'resolved';
  /** Of the MeridianError. */
  readonly code: string;
  readonly message: string;
}

/** Shares the record's bytes. */
export function deadLetterEntry(letter: DeadLetter, { key, value, headers }: LogEntry): LogEntry {
  const bounded = { ...letter, message: letter.message.slice(0, DEAD_LETTER_MESSAGE_CHARACTERS_MAX) };
  const header = Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(bounded))]);
  return { key, value, headers: { ...headers, [DEAD_LETTER_HEADER]: header } };
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
    parsed = JSON.parse(asBuffer(header).toString('utf8', 1));
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
    (fields.state === 'poison' || fields.state === 'resolved') &&
    typeof fields.code === 'string' &&
    typeof fields.message === 'string'
  );
}
