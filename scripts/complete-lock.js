#!/usr/bin/env node
// Adds to package-lock.json the optional packages of other platforms that npm left out.
//
// Packages with prebuilt binaries name one optional package per platform. A registry mirror that offers only this platform's makes
// `npm install` leave the others out of the lock file, and `npm ci` then refuses the file everywhere. Run this after `npm install`.
import { readFileSync, writeFileSync } from 'node:fs';

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'aix', 'win32'];
const PROCESSORS = ['arm64', 'arm', 'ia32', 'x64', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32'];

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const added = [];
for (const [path, parent] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const known = [`${path}/node_modules/${name}`, `node_modules/${name}`].some((at) => lock.packages[at]);
    if (known) continue;
    if (!/^\d+\.\d+\.\d+/.test(version)) throw new Error(`${path}: optional ${name}@${version} is no exact version`);
    lock.packages[`node_modules/${name}`] = {
      version,
      ...platformOf(name),
      ...(parent.dev ? { dev: true } : {}),
      optional: true,
    };
    added.push(name);
  }
}
const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries(sorted);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length ? `added ${added.length}: ${added.join(', ')}` : 'nothing was missing');

// Platform packages carry their platform in the name: `@scope/tool-linux-x64-musl`, `tool-win32-arm64-msvc`.
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = SYSTEMS.filter((system) => words.includes(system));
  const cpu = PROCESSORS.filter(
    (processor) => words.includes(processor) || (processor === 'arm' && /(^|-)arm(-|$)|armv7/.test(name)),
  );
  if (os.length === 0 && cpu.length === 0) throw new Error(`${name}: its platform cannot be told from its name`);
  return {
    ...(cpu.length ? { cpu } : {}),
    ...(words.includes('musl') || words.includes('musleabihf') ? { libc: ['musl'] } : {}),
    ...(os.length ? { os } : {}),
  };
}
