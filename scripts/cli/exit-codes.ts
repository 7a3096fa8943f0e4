import { MeridianError } from '../../global/runtime/errors.js';

/** What `meridian` exits with (a promise; see README). */
export const ExitCode = { done: 0, failed: 1, usage: 2, partial: 3, refused: 4 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof MeridianError)) return ExitCode.failed;
  if (error.code === 'configuration' || error.code === 'invalid') return ExitCode.usage;
  return error.code === 'refused' ? ExitCode.refused : ExitCode.failed;
}
