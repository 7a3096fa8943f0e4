import { MeridianError, messageOf } from '../../global/runtime/errors.js';

/**
 * One tier of a store could not be asked, the others could: the error says which and why, `answer` is what the others have. Whoever can name missing parts
 * in an answer gives it out so; for everyone else it is an error like any other, and nothing is silently short.
 */
export class PartialAnswer<T> extends MeridianError {
  constructor(
    /** As in health: `store`, `cold tier`. */
    readonly part: string,
    readonly answer: T,
    cause: unknown,
  ) {
    const known = cause instanceof MeridianError ? cause : null;
    super(known?.code ?? 'unavailable', `${part}: ${messageOf(cause)}`, known?.retry ?? 'later', { cause });
    this.name = 'PartialAnswer';
  }
}
