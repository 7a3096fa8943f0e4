import { afterAll, beforeAll } from 'vitest';
import { TestFleet, type TestFleetOptions } from './test-fleet.js';

/** A fleet for all tests of a file: started before them, stopped after them. The result gives it, from within tests. */
export function useFleet(options: TestFleetOptions, startBudgetMs?: number): () => TestFleet {
  let fleet: TestFleet | undefined;
  beforeAll(async () => {
    fleet = await new TestFleet(options).start();
  }, startBudgetMs);
  afterAll(() => fleet?.stop());
  return () => {
    if (!fleet) throw new Error('the fleet is there in tests only');
    return fleet;
  };
}
