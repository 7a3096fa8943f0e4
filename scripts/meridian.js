#!/usr/bin/env node
// The command `meridian`. Plain JavaScript, so that it can say what is missing before anything was compiled.
import { existsSync } from 'node:fs';

const compiled = new URL('../dist/scripts/cli/main.js', import.meta.url);
if (!existsSync(compiled)) {
  console.error(
    'meridian: not compiled yet. Run `npm run build` (or `npm start`, which does it by itself) and try again.',
  );
  process.exit(1);
}
await import(compiled.href);
