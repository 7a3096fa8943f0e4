import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';

/** A Maven artifact. Versions are pinned: a range takes minutes to resolve. */
export interface Artifact {
  readonly group: string;
  readonly name: string;
  readonly version: string;
}

export interface JarSetOptions {
  /** Part of the folder's name: `kafka`, `elasticsearch`, `mirrormaker`. */
  readonly engine: string;
  readonly artifacts: readonly Artifact[];
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  /** Told one line at a time what is going on; not called where the jars are there already. */
  readonly onProgress: (line: string) => void;
  /**
   * Adds files (compiled jars, say) to the folder before it counts as complete; its jars are in `<folder>/jars` by then. `key` must change with what
   * it adds.
   */
  readonly prepare?: { readonly key: string; run(folder: string): Promise<void> };
}

export interface JarSet {
  /** Holds `jars/` and what `prepare` added. Things derived from the jars alone (class-data archives) may be put beside them. */
  readonly folder: string;
  /** Every jar of `jars/`, in order of name. */
  readonly jars: readonly string[];
}

/** Where jars are kept, outside the repository: `$XDG_CACHE_HOME/meridian/engines`, or below `~/.cache`. */
export function enginesCache(environment: Readonly<Record<string, string | undefined>>): string {
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'meridian', 'engines');
}

/** The pom whose runtime dependencies are the engine's jars. Its hash names the folder. */
export function pomOf(engine: string, artifacts: readonly Artifact[]): string {
  const dependencies = artifacts.map(
    ({ group, name, version }) =>
      `    <dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`,
  );
  return [
    '<project xmlns="http://maven.apache.org/POM/4.0.0">',
    '  <modelVersion>4.0.0</modelVersion>',
    `  <groupId>meridian.engines</groupId><artifactId>${engine}</artifactId><version>1</version><packaging>pom</packaging>`,
    '  <dependencies>',
    ...dependencies,
    '  </dependencies>',
    '</project>',
    '',
  ].join('\n');
}

/** Of the folder of a jar set, below the cache folder. */
export function folderNameOf(options: Pick<JarSetOptions, 'engine' | 'artifacts' | 'prepare'>): string {
  const hash = createHash('sha256')
    .update(pomOf(options.engine, options.artifacts))
    .update(options.prepare?.key ?? '');
  return `${options.engine}-${hash.digest('hex').slice(0, 16)}`;
}

/** Of the same cache folder and engine, one at a time within this process. */
const underWay = new Map<string, Promise<unknown>>();

/**
 * The jars of an engine, fetched by Maven unless the cache has them. A folder appears in the cache when it is complete, in one rename: whoever is
 * interrupted leaves nothing that looks complete, and processes that fetch at the same time do not disturb each other. Rejects with
 * `configuration` where Java or Maven are missing, `unavailable` where fetching fails.
 */
export async function ensureJars(options: JarSetOptions): Promise<JarSet> {
  const pom = pomOf(options.engine, options.artifacts);
  const key = createHash('sha256')
    .update(pom)
    .update(options.prepare?.key ?? '')
    .digest('hex')
    .slice(0, 16);
  const folder = join(options.cacheFolder, `${options.engine}-${key}`);
  const before = underWay.get(folder) ?? Promise.resolve();
  const mine = before.catch(() => {}).then(() => fetchUnlessThere(options, pom, folder));
  underWay.set(folder, mine);
  await mine;
  const jars = readdirSync(join(folder, 'jars')).filter((name) => name.endsWith('.jar'));
  return { folder, jars: jars.sort().map((name) => join(folder, 'jars', name)) };
}

async function fetchUnlessThere(options: JarSetOptions, pom: string, folder: string): Promise<void> {
  if (existsSync(folder)) return;
  const { engine, cacheFolder, onProgress, prepare } = options;
  await checkJava();
  await checkTool('mvn', MAVEN_HINT);
  const partial = join(cacheFolder, `.partial-${engine}-${process.pid}`);
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    writeFileSync(join(partial, 'pom.xml'), pom);
    onProgress(`${engine}: fetching jars from Maven Central (once)`);
    await maven(engine, partial, onProgress);
    await prepare?.run(partial);
    moveIntoPlace(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function moveIntoPlace(partial: string, folder: string): void {
  try {
    renameSync(partial, folder);
  } catch (error) {
    // Another process was faster: the same pom, the same jars.
    if (!existsSync(folder)) throw error;
  }
}

const FETCH_BUDGET_MS = 15 * 60_000;
const PROGRESS_EVERY_JARS = 10;

async function maven(engine: string, folder: string, onProgress: (line: string) => void): Promise<void> {
  let fetched = 0;
  const line = (text: string) => {
    if (!/^(\[INFO\] )?Downloaded from .*\.jar/.test(text)) return;
    fetched++;
    if (fetched % PROGRESS_EVERY_JARS === 0) onProgress(`${engine}: ${fetched} jars fetched`);
  };
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', '-DoutputDirectory=jars'];
  const { code, tail } = await run('mvn', ['-B', '-f', 'pom.xml', ...goal], {
    folder,
    budgetMs: FETCH_BUDGET_MS,
    line,
  });
  if (code !== 0) {
    throw new MeridianError(
      'unavailable',
      `fetching the jars of ${engine} with Maven failed (${code}):\n${tail}`,
      'later',
    );
  }
  onProgress(`${engine}: ${readdirSync(join(folder, 'jars')).length} jars complete`);
}

const JAVA_MIN = 17;
const JAVA_HINT = `Install a JDK, ${JAVA_MIN} or later (Debian and Ubuntu: apt-get install openjdk-17-jdk-headless; macOS: brew install openjdk@17), and put java on the PATH`;
const MAVEN_HINT = 'Install Maven 3.8 or later (Debian and Ubuntu: apt-get install maven; macOS: brew install maven)';

/** Rejects with `configuration`, telling how to get it, where Java is missing or too old. */
export async function checkJava(): Promise<void> {
  const text = await checkTool('java', JAVA_HINT);
  const major = /version "(?:1\.)?(\d+)/.exec(text)?.[1];
  if (major !== undefined && Number(major) < JAVA_MIN) {
    throw new MeridianError('configuration', `java is version ${major}, too old. ${JAVA_HINT}`, 'never');
  }
}

/** What is missing on this machine for the engines that run on Java, with how to get it; null where nothing is. */
export async function missingForJava(): Promise<string | null> {
  try {
    await checkJava();
    await checkTool('mvn', MAVEN_HINT);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

async function checkTool(command: string, hint: string): Promise<string> {
  try {
    const { code, tail } = await run(command, ['-version'], { folder: '.', budgetMs: 60_000, line: () => {} });
    if (code === 0) return tail;
    throw new Error(`${command} -version ended with ${code}: ${tail}`);
  } catch (error) {
    throw new MeridianError('configuration', `${command} does not run (${messageOf(error)}). ${hint}`, 'never', {
      cause: error,
    });
  }
}

export interface RunOptions {
  readonly folder: string;
  readonly budgetMs: number;
  readonly line: (text: string) => void;
  /** Characters of output that are kept. Default 2,000. */
  readonly tailMax?: number;
}

const TAIL_MAX = 2_000;

/** Runs a tool to its end. `tail` is the end of what it wrote. Rejects only where it cannot be started. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<{ code: number | string; tail: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      cwd: options.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.budgetMs,
      killSignal: 'SIGKILL',
    });
    let tail = '';
    let rest = '';
    const take = (chunk: Buffer) => {
      const text = chunk.toString();
      tail = (tail + text).slice(-(options.tailMax ?? TAIL_MAX));
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) options.line(line);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? signal ?? 'unknown', tail: tail.trim() }));
  });
}
