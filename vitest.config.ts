import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{global,regions,router,scripts,tests}/**/*.test.ts'],
    exclude: ['**/*.engine.test.ts', '**/node_modules/**', '**/dist/**'],
    // Two cores: whole-system tests start processes of their own.
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2, minForks: 1 } },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
