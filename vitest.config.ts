import { defineConfig } from 'vitest/config';
import { engineSuites } from './tests/reporting/engine-suites.js';
import { CountingReporter } from './tests/reporting/reporter.js';

/** Everything that needs no engine. The suites that do are named at the end, with what is missing for them, or how to run them. */
export default defineConfig(async () => {
  const suites = await engineSuites();
  return {
    test: {
      include: ['{global,regions,router,scripts,tests}/**/*.test.ts'],
      exclude: ['**/*.engine.test.ts', '**/node_modules/**', '**/dist/**'],
      // Two cores: whole-system tests start processes of their own.
      pool: 'forks',
      poolOptions: { forks: { maxForks: 2, minForks: 1 } },
      testTimeout: 30_000,
      hookTimeout: 60_000,
      reporters: [
        'default',
        new CountingReporter({
          skipped: suites.filter(({ missing }) => missing !== null),
          elsewhere: suites.filter(({ missing }) => missing === null),
          countsFile: process.env.MERIDIAN_TEST_COUNTS,
          out: (line) => console.log(line),
        }),
      ],
    },
  };
});
