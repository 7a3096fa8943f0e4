import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above the code: the installation is incomplete');
    folder = parent;
  }
  return folder;
}

/** The folder of Meridian's package.json, both from the sources and from `dist`. */
export const packageRoot: string = findRoot();

/**
 * The compiled file of a module, by its path from the root without extension, e.g. `regions/main`. Child processes and worker
 * threads always run compiled code, also when the caller is a test that runs from the sources; `npm test` builds first.
 */
export function compiledModule(path: string): string {
  return join(packageRoot, 'dist', `${path}.js`);
}
