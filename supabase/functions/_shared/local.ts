import type { Machine, MachineConfig, Machines } from "./machines.ts";
import { type Environment, required } from "./settings.ts";

/** How long a machine may take to end after SIGTERM before it is killed, milliseconds: the agent's own grace is 4 s. */
const GRACE_MS = 15_000;

/** What lies beside a machine's project, for a process that comes after this one. */
interface Kept {
  pid: number;
  /** The process's start, in ticks since boot: a pid alone may be another's by now. */
  began: string;
  sessionId: string;
  port: number;
  statusPort: number;
}

/** Machines that are processes of this computer: a directory for each, with its project, its log and its pid. */
export class LocalMachines implements Machines {
  readonly provider = "local";

  constructor(readonly binary: string, readonly root: string, readonly path: string) {}

  static fromEnvironment(environment: Environment): LocalMachines {
    return new LocalMachines(
      required(environment, "LOCAL_AGENT_BINARY"),
      required(environment, "LOCAL_MACHINES_DIR"),
      environment("PATH") ?? "/usr/bin:/bin",
    );
  }

  async ensure(name: string, config: MachineConfig): Promise<Machine> {
    const there = await this.find(name);
    if (there?.state === "started") return there;
    if (there) await this.destroy(there.id);
    const home = `${this.root}/${name}`;
    await Deno.mkdir(`${home}/project`, { recursive: true });
    const [port, statusPort] = [freePort(), freePort()];
    // Where it lives and listens is said by flags, so that its environment is the one that a machine of Fly's has.
    const flags = [
      "--project-dir",
      `${home}/project`,
      "--preview-port",
      `${port}`,
      "--status-addr",
      `127.0.0.1:${statusPort}`,
    ];
    const child = new Deno.Command("sh", {
      args: ["-c", 'log=$1; shift; exec "$@" > "$log" 2>&1', "sh", `${home}/log`, this.binary, "run", ...flags],
      clearEnv: true,
      env: { PATH: this.path, HOME: home, ...config.env },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    // Nobody else waits for it, and it would stay a zombie.
    child.status.catch(() => {});
    child.unref();
    const kept: Kept = { pid: child.pid, began: began(child.pid) ?? "", sessionId: config.sessionId, port, statusPort };
    await Deno.writeTextFile(`${home}/machine.json`, JSON.stringify(kept));
    return this.#machine(name, kept);
  }

  async find(name: string): Promise<Machine | null> {
    try {
      return this.#machine(name, JSON.parse(await Deno.readTextFile(`${this.root}/${name}/machine.json`)));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    }
  }

  async list(): Promise<Machine[]> {
    const machines: Machine[] = [];
    for await (const { name } of Deno.readDir(this.root)) {
      const machine = await this.find(name);
      if (machine) machines.push(machine);
    }
    return machines;
  }

  async start(id: string): Promise<void> {
    await this.#signal(id, "SIGCONT");
  }

  async stop(id: string): Promise<void> {
    await this.#end(id);
  }

  /** A suspended process keeps its memory and does nothing. */
  async suspend(id: string): Promise<void> {
    await this.#signal(id, "SIGSTOP");
  }

  async destroy(id: string): Promise<void> {
    await this.#end(id);
    await Deno.remove(`${this.root}/${id}`, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  async #signal(id: string, signal: Deno.Signal): Promise<boolean> {
    const kept = await this.#kept(id);
    if (!kept || !runs(kept)) return false;
    Deno.kill(kept.pid, signal);
    return true;
  }

  async #end(id: string): Promise<void> {
    if (!await this.#signal(id, "SIGTERM")) return;
    await this.#signal(id, "SIGCONT");
    const kept = await this.#kept(id);
    const until = Date.now() + GRACE_MS;
    while (kept && runs(kept)) {
      if (Date.now() > until) Deno.kill(kept.pid, "SIGKILL");
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  async #kept(id: string): Promise<Kept | null> {
    try {
      return JSON.parse(await Deno.readTextFile(`${this.root}/${id}/machine.json`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    }
  }

  #machine(name: string, kept: Kept): Machine {
    const state = runs(kept) ? "started" : "stopped";
    return { id: name, name, state, sessionId: kept.sessionId, url: `http://127.0.0.1:${kept.port}/` };
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

function runs(kept: Kept): boolean {
  return began(kept.pid) === kept.began;
}

/** The start time of a process that is no zombie; null where there is none. */
function began(pid: number): string | null {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name stands in brackets and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : fields[19] ?? null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
