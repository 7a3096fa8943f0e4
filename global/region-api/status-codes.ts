import { Metadata, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
import { type ErrorCode, MeridianError, messageOf } from '../runtime/errors.js';
import { ERROR_CODE_METADATA } from './messages.js';

const STATUS_OF: Record<ErrorCode, status> = {
  malformed: status.INVALID_ARGUMENT,
  invalid: status.INVALID_ARGUMENT,
  'too-large': status.RESOURCE_EXHAUSTED,
  'unknown-version': status.FAILED_PRECONDITION,
  'not-found': status.NOT_FOUND,
  overloaded: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  refused: status.PERMISSION_DENIED,
  configuration: status.FAILED_PRECONDITION,
  'shutting-down': status.UNAVAILABLE,
};

const CODES = new Set<string>(Object.keys(STATUS_OF));

/** What a handler of the region API answers with when something was thrown. */
export function toStatus(error: unknown): Partial<StatusObject> {
  const metadata = new Metadata();
  if (error instanceof MeridianError) {
    metadata.set(ERROR_CODE_METADATA, error.code);
    return { code: STATUS_OF[error.code], details: error.message, metadata };
  }
  return { code: status.INTERNAL, details: messageOf(error), metadata };
}

/** grpc-js wraps why a connection failed into what it tried; people on call want the why. */
function plainDetails(error: ServiceError): string {
  const details = error.details || error.message;
  const refused = /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note: *(.*)$/s.exec(
    details,
  );
  if (!refused) return details;
  return [refused[1], refused[2]].filter(Boolean).join('; ');
}

/** What a caller of the region API throws for a gRPC failure. `attempt` names the call and the region. */
export function fromServiceError(error: ServiceError, attempt: string): MeridianError {
  const told = error.metadata?.get(ERROR_CODE_METADATA)[0]?.toString();
  const make = (code: ErrorCode, retry: 'never' | 'later') =>
    new MeridianError(code, `${attempt}: ${plainDetails(error)}`, retry, { cause: error });
  if (told && CODES.has(told)) {
    const code = told as ErrorCode;
    const later = code === 'unavailable' || code === 'timeout' || code === 'overloaded' || code === 'shutting-down';
    return make(code, later ? 'later' : 'never');
  }
  switch (error.code) {
    case status.DEADLINE_EXCEEDED:
    case status.CANCELLED:
      return make('timeout', 'later');
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      return make('refused', 'never');
    case status.RESOURCE_EXHAUSTED:
      return make('too-large', 'never');
    case status.INVALID_ARGUMENT:
      return make('invalid', 'never');
    case status.UNAVAILABLE:
      return make('unavailable', 'later');
    // UNKNOWN and INTERNAL come from a peer that does not speak the protocol, and from answers that do not parse.
    default:
      return make('malformed', 'later');
  }
}
