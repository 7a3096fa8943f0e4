import { MeridianError, messageOf } from '../../global/runtime/errors.js';

/** The name that Kafka's protocol gives an error (`NOT_COORDINATOR_FOR_GROUP`), or kafkajs's class; empty for anything else. */
export function kafkaErrorType(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const { type } = error as { type?: unknown };
  if (typeof type === 'string') return type;
  const { cause } = error;
  return cause instanceof Error && cause !== error ? kafkaErrorType(cause) : error.name;
}

const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);
const REFUSED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
]);

/**
 * What Kafka or its client reported, as an error of ours. A topic that its own table knows but the broker does not (any more) is `not-found`;
 * whatever is not known to be final is `unavailable`.
 */
export function fromKafka(attempt: string, error: unknown): MeridianError {
  if (error instanceof MeridianError) return error;
  const type = kafkaErrorType(error);
  const message = `${attempt}: ${type ? `${type}: ` : ''}${messageOf(error)}`;
  const options = { cause: error };
  if (TOO_LARGE.has(type)) return new MeridianError('too-large', message, 'never', options);
  if (type === 'UNKNOWN_TOPIC_OR_PARTITION') return new MeridianError('not-found', message, 'never', options);
  if (REFUSED.has(type)) return new MeridianError('refused', message, 'never', options);
  return new MeridianError('unavailable', message, 'later', options);
}

/** The group does not count this member any more: whatever it owned may have another owner. */
export function isMembershipLost(error: unknown): boolean {
  return ['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID'].includes(kafkaErrorType(error));
}

/** The broker's count of what this producer sent to a partition is not ours. */
export function isProducerForgotten(error: unknown): boolean {
  return [
    'OUT_OF_ORDER_SEQUENCE_NUMBER',
    'DUPLICATE_SEQUENCE_NUMBER',
    'UNKNOWN_PRODUCER_ID',
    'INVALID_PRODUCER_EPOCH',
  ].includes(kafkaErrorType(error));
}

/** The member is still one, but the group wants all of them to join again. */
export function isRebalance(error: unknown): boolean {
  return kafkaErrorType(error) === 'REBALANCE_IN_PROGRESS';
}
