import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MeridianError } from '../../global/runtime/errors.js';
import { Admission, type Ticket } from './admission.js';

const limits = { inFlightBytesMax: 100, inFlightRequestsMax: 3 };

function refusal(action: () => unknown): MeridianError {
  try {
    action();
  } catch (error) {
    if (error instanceof MeridianError) return error;
  }
  throw new Error('nothing was refused');
}

describe('admission', () => {
  test('takes bytes up to the limit and refuses one more, to be sent again', () => {
    const admission = new Admission(limits);
    const ticket = admission.enter(60);
    ticket.grow(40);
    expect(admission.inFlightBytes).toBe(100);
    const refused = refusal(() => ticket.grow(1));
    expect(refused).toMatchObject({ code: 'overloaded', retry: 'later' });
    expect(refused.message).toContain('inFlightBytesMax');
    expect(admission.inFlightBytes).toBe(100);
    expect(refusal(() => admission.enter(1)).code).toBe('overloaded');
    expect(admission.inFlightRequests).toBe(1);
  });

  test('takes requests up to the limit and refuses one more', () => {
    const admission = new Admission(limits);
    const tickets = [admission.enter(), admission.enter(), admission.enter()];
    expect(refusal(() => admission.enter()).message).toContain('inFlightRequestsMax');
    tickets[0]!.leave();
    admission.enter();
    expect(admission.inFlightRequests).toBe(3);
  });

  test('what was taken is given back once, whatever happens', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            what: fc.constantFrom('enter', 'grow', 'leave'),
            bytes: fc.nat(80),
            which: fc.nat(10),
          }),
        ),
        (steps) => {
          const admission = new Admission(limits);
          const tickets: Ticket[] = [];
          for (const { what, bytes, which } of steps) {
            try {
              if (what === 'enter') tickets.push(admission.enter(bytes));
              else if (what === 'grow') tickets[which % (tickets.length || 1)]?.grow(bytes);
              else tickets[which % (tickets.length || 1)]?.leave();
            } catch (error) {
              expect(error).toMatchObject({ code: 'overloaded' });
            }
            expect(admission.inFlightBytes).toBeLessThanOrEqual(limits.inFlightBytesMax);
            expect(admission.inFlightRequests).toBeLessThanOrEqual(limits.inFlightRequestsMax);
          }
          for (const ticket of tickets) ticket.leave();
          expect([admission.inFlightBytes, admission.inFlightRequests]).toEqual([0, 0]);
        },
      ),
    );
  });
});
