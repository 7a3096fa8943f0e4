import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { WireError } from './log-protocol.js';

/** SQLite's name for a failure, e.g. SQLITE_FULL; empty for anything else. */
export function sqliteCodeName(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('sqliteCodeName' in error)) return '';
  return String(error.sqliteCodeName);
}

export function toWireError(error: unknown, attempt: string): WireError {
  if (error instanceof MeridianError) return { code: error.code, message: error.message, retry: error.retry };
  return { code: 'unavailable', message: `${attempt}: ${messageOf(error)}`, retry: 'later' };
}

export function fromWireError(error: WireError): MeridianError {
  return new MeridianError(error.code, error.message, error.retry);
}
