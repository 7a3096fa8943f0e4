import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import type { Files } from './deployment.js';

export const DOCKERFILE = 'infra/compose/Dockerfile';

export interface Copy {
  /** From another stage, or undefined: from the repository. */
  readonly stage: string | undefined;
  readonly sources: readonly string[];
  readonly target: string;
}

export interface Stage {
  readonly image: string;
  readonly copies: readonly Copy[];
  readonly lines: readonly string[];
}

/** The stages of a Dockerfile: base image, what is copied, and every instruction as one line. */
export function readDockerfile(text: string): Stage[] {
  const lines = text
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const stages: { image: string; copies: Copy[]; lines: string[] }[] = [];
  for (const line of lines) {
    const [instruction, ...rest] = line.split(/\s+/);
    if (instruction === 'FROM') stages.push({ image: rest[0] ?? '', copies: [], lines: [] });
    const stage = stages.at(-1);
    if (!stage) throw new Error(`${DOCKERFILE}: ${line} before FROM`);
    stage.lines.push(line);
    if (instruction !== 'COPY') continue;
    const from = rest[0]?.startsWith('--from=') ? rest.shift()!.slice('--from='.length) : undefined;
    stage.copies.push({ stage: from, sources: rest.slice(0, -1), target: rest.at(-1) ?? '' });
  }
  return stages;
}

export function checkImage(files: Files): string[] {
  const found: string[] = [];
  const stages = readDockerfile(files.text(DOCKERFILE));
  const ignored = ignoreRules(files.text('.dockerignore'));
  for (const { image, copies } of stages) {
    if (!/^node:20\.\d+\.\d+-[a-z]+-slim$/.test(image)) found.push(`${DOCKERFILE}: ${image} is no pinned Node 20`);
    for (const { stage, sources } of copies) {
      if (stage) continue;
      for (const source of sources) {
        if (!files.exists(source)) found.push(`${DOCKERFILE}: ${source} does not exist`);
        if (ignored(source)) found.push(`.dockerignore keeps ${source} from the image`);
      }
    }
  }
  if (new Set(stages.map(({ image }) => image)).size !== 1)
    found.push(`${DOCKERFILE}: built on another image than it runs on`);
  const last = stages.at(-1)!.lines;
  const entry = ['node', ...COLLECTOR_NODE_FLAGS, '/app/scripts/meridian.js'];
  if (!last.includes(`ENTRYPOINT ${JSON.stringify(entry).replaceAll(',', ', ')}`))
    found.push(`${DOCKERFILE}: its entry point is not ${entry.join(' ')}`);
  const user = last.findLast((line) => line.startsWith('USER '));
  if (!user || /root|\b0\b/.test(user)) found.push(`${DOCKERFILE}: runs as root`);
  if (!last.some((line) => line.startsWith('HEALTHCHECK '))) found.push(`${DOCKERFILE}: has no HEALTHCHECK`);
  return found;
}

/** `.dockerignore` as it is used here: everything is ignored but the paths with `!`, and files by suffix. */
function ignoreRules(text: string): (path: string) => boolean {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  if (lines[0] !== '*') throw new Error('.dockerignore: the first rule is not *');
  const kept = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  const suffixes = lines.filter((line) => line.startsWith('**/*')).map((line) => line.slice('**/*'.length));
  return (path) =>
    suffixes.some((suffix) => path.endsWith(suffix)) || !kept.some((one) => path === one || path.startsWith(`${one}/`));
}
