import { describe, expect, test } from 'vitest';
import { Circuit } from './circuit.js';

const circuit = () => new Circuit({ failuresToOpen: 3, probe: { firstMs: 100, maxMs: 350 } });

describe('circuit', () => {
  test('opens with the failure that reaches the limit, and says so once', () => {
    const subject = circuit();
    expect([subject.failed(1), subject.failed(2)]).toEqual([false, false]);
    expect(subject.isOpen).toBe(false);
    expect([subject.failed(3), subject.failed(4)]).toEqual([true, false]);
    expect([subject.isOpen, subject.probeAtMs]).toEqual([true, 103]);
  });

  test('a success between failures starts the count again', () => {
    const subject = circuit();
    subject.failed(1);
    subject.failed(2);
    subject.succeeded(3);
    expect([subject.failed(4), subject.failed(5), subject.failed(6)]).toEqual([false, false, true]);
  });

  test('an append that hangs opens it at once, unless another one succeeded since it began', () => {
    const subject = circuit();
    subject.succeeded(50);
    expect(subject.hung(40, 2040)).toBe(false);
    expect(subject.hung(60, 2060)).toBe(true);
  });

  test('waits longer after each probe that failed, up to the most; a success closes and forgets', () => {
    const subject = circuit();
    for (const ms of [0, 0, 0]) subject.failed(ms);
    const waits: number[] = [];
    for (let i = 0; i < 4; i++) {
      waits.push(subject.probeAtMs);
      subject.probeFailed(subject.probeAtMs);
    }
    expect(waits).toEqual([100, 300, 650, 1000]);
    subject.succeeded(1000);
    expect(subject.isOpen).toBe(false);
    for (const ms of [2000, 2000, 2000]) subject.failed(ms);
    expect(subject.probeAtMs).toBe(2100);
  });

  test('a probe that fails after somebody else closed it changes nothing', () => {
    const subject = circuit();
    subject.probeFailed(5);
    expect([subject.isOpen, subject.probeAtMs]).toEqual([false, 0]);
  });
});
