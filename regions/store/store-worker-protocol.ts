import type { ErrorCode, MeridianError } from '../../global/runtime/errors.js';
import type { DatabaseOptions } from './store-database.js';
import type { EngineCounts } from './store-engine.js';

/** Between the store and its worker thread. Both ends are always of one build: no version. */
export interface WorkerSettings {
  readonly database: DatabaseOptions;
}

export type WorkerCall =
  | { readonly call: 'write'; readonly blocks: readonly Uint8Array[] }
  | { readonly call: 'expire'; readonly beforeUnixNano: bigint }
  | { readonly call: 'remove'; readonly packs: readonly number[] }
  | { readonly call: 'compact' }
  | { readonly call: 'counts' }
  | { readonly call: 'close' };

export interface WorkerRequest {
  readonly id: number;
  readonly call: WorkerCall;
}

/** Id 0 tells whether the database could be opened. */
export type WorkerReply =
  | { readonly id: number; readonly value: number | EngineCounts | null }
  | { readonly id: number; readonly error: WorkerError };

export interface WorkerError {
  /** Null for what was no MeridianError. */
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly retry: MeridianError['retry'];
}
