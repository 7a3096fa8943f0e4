import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { REJECTED_NAMED_MAX } from '../../global/otlp/prepare.js';
import { joinRejected } from './pipeline.js';

const rejected = (index: number, code: string) => ({ index, code, message: code });

describe('joining what reading and checking refused', () => {
  test('every index is that of the request as it was sent', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('read', 'check', 'good'), { maxLength: 90 }), (fates) => {
        const byReading = fates.flatMap((fate, i) => (fate === 'read' ? [rejected(i, fate)] : []));
        const passed = fates.filter((fate) => fate !== 'read');
        const byChecking = passed.flatMap((fate, i) => (fate === 'check' ? [rejected(i, fate)] : []));
        const joined = joinRejected(byReading, byChecking);
        expect(joined.map(({ index, code }) => [index, code])).toEqual(
          fates.flatMap((fate, i) => (fate === 'good' ? [] : [[i, fate]])),
        );
      }),
    );
  });

  test('as many are named as an answer may name, and not one more', () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => rejected(i, 'read'));
    expect(joinRejected(many(REJECTED_NAMED_MAX), [])).toHaveLength(REJECTED_NAMED_MAX);
    expect(joinRejected(many(REJECTED_NAMED_MAX + 1), [])).toHaveLength(REJECTED_NAMED_MAX);
  });
});
