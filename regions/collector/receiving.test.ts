import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { Receiving } from './receiving.js';

describe('receiving', () => {
  test('as many as may be, and one more is refused until one is through', () => {
    const receiving = new Receiving(2, 100, new ManualClock());
    const first = receiving.enter(() => {});
    receiving.enter(() => {});
    expect(() => receiving.enter(() => {})).toThrow('grpcReceivingMax');
    first();
    first();
    receiving.enter(() => {});
    expect(() => receiving.enter(() => {})).toThrow('grpcReceivingMax');
  });

  test('each is ended when its own time is over, and not when it is through', async () => {
    const clock = new ManualClock();
    const receiving = new Receiving(10, 100, clock);
    const ended: string[] = [];
    const enter = (name: string) => receiving.enter((error) => ended.push(`${name} ${error.code} ${error.retry}`));
    const through = enter('a');
    await clock.advance(30);
    enter('b');
    await clock.advance(30);
    enter('c');
    through();
    await clock.advance(69);
    expect(ended).toEqual([]);
    await clock.advance(1);
    expect(ended).toEqual(['b timeout later']);
    await clock.advance(30);
    expect(ended).toEqual(['b timeout later', 'c timeout later']);
    enter('d');
    await clock.advance(100);
    expect(ended).toHaveLength(3);
  });

  test('nothing is ended after closing', async () => {
    const clock = new ManualClock();
    const receiving = new Receiving(10, 100, clock);
    receiving.enter(() => expect.unreachable());
    receiving.close();
    await clock.advance(1000);
  });
});
