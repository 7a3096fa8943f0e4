import { spawn } from 'node:child_process';

/**
 * Waits on a pipe from this process. A line on it means that the engine has ended by itself; the end of the pipe means that this process has
 * died, however: then the engine is asked to end, and made to after 10 s.
 */
const SCRIPT = `
if read -r _; then exit 0; fi
kill -TERM "$1" 2>/dev/null
i=0
while [ $i -lt 50 ] && kill -0 "$1" 2>/dev/null; do i=$((i + 1)); sleep 0.2; done
kill -KILL "$1" 2>/dev/null
`;

/**
 * Sees to it that a child process ends when this process does, `kill -9` included: what is started detached would go on otherwise. Call the
 * result when the child has ended.
 */
export function watchOver(pid: number): () => void {
  const dog = spawn('/bin/sh', ['-c', SCRIPT, 'meridian-watchdog', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Where there is no shell the engine is only ended by `stop` and `engines down`.
  dog.on('error', () => {});
  dog.stdin.on('error', () => {});
  dog.unref();
  return () => dog.stdin.end('ended\n');
}
