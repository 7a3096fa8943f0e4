import kafkajs from 'kafkajs';
import { expect, test } from 'vitest';
import { MeridianError } from '../../global/runtime/errors.js';
import { fromKafka, isMembershipLost, isRebalance, kafkaErrorType } from './kafka-errors.js';

function protocolError(type: string): Error {
  return new kafkajs.KafkaJSProtocolError(Object.assign(new Error(`it said ${type}`), { type, retriable: true }));
}

test.each([
  ['MESSAGE_TOO_LARGE', 'too-large', 'never'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 'not-found', 'never'],
  ['TOPIC_AUTHORIZATION_FAILED', 'refused', 'never'],
  ['NOT_LEADER_FOR_PARTITION', 'unavailable', 'later'],
  ['NOT_ENOUGH_REPLICAS', 'unavailable', 'later'],
] as const)('%s is %s', (type, code, retry) => {
  const error = fromKafka('appending to spans/3', protocolError(type));
  expect(error).toMatchObject({ code, retry, message: `appending to spans/3: ${type}: it said ${type}` });
});

test('what is wrapped by repetitions is still recognised', () => {
  const wrapped = new kafkajs.KafkaJSNumberOfRetriesExceeded(protocolError('MESSAGE_TOO_LARGE'), {
    retryCount: 5,
    retryTime: 1,
  });
  expect(kafkaErrorType(wrapped)).toBe('MESSAGE_TOO_LARGE');
  expect(fromKafka('x', wrapped).code).toBe('too-large');
});

test('anything else is unavailable, and an error of ours stays what it is', () => {
  expect(fromKafka('x', new kafkajs.KafkaJSError('socket')).code).toBe('unavailable');
  expect(fromKafka('x', 'a string')).toMatchObject({ code: 'unavailable', message: 'x: a string' });
  const ours = new MeridianError('overloaded', 'full', 'later');
  expect(fromKafka('x', ours)).toBe(ours);
});

test('membership and rebalances are seen through our own errors', () => {
  expect(isMembershipLost(fromKafka('x', protocolError('ILLEGAL_GENERATION')))).toBe(true);
  expect(isMembershipLost(protocolError('UNKNOWN_MEMBER_ID'))).toBe(true);
  expect(isMembershipLost(protocolError('REBALANCE_IN_PROGRESS'))).toBe(false);
  expect(isRebalance(fromKafka('x', protocolError('REBALANCE_IN_PROGRESS')))).toBe(true);
  expect(isRebalance(new Error('REBALANCE_IN_PROGRESS'))).toBe(false);
});
