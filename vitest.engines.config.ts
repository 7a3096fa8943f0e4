import { defineConfig } from 'vitest/config';

/** The suites that need Java, Maven and Redis (`npm run test:engines`): one file at a time, as each starts engines of its own. */
export default defineConfig({
  test: {
    include: ['{global,regions,router,scripts,tests}/**/*.engine.test.ts'],
    pool: 'forks',
    poolOptions: { forks: { maxForks: 1, minForks: 1 } },
    testTimeout: 120_000,
    hookTimeout: 600_000,
  },
});
