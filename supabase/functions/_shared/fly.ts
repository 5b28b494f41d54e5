import { Answered, ask, type Asking } from "./ask.ts";
import type { Machine, MachineConfig, Machines, MachineState } from "./machines.ts";
import { Secret } from "./secret.ts";
import { type Environment, required, seconds } from "./settings.ts";

/** Seconds that one wait may take; Fly takes no more than 60. */
const WAIT = 60;
/** Marks the machines that are ours among others of the app. */
const MANAGED_BY = "preview-session";

/** As the Machines API gives it, in the parts that are used. */
interface FlyMachine {
  id: string;
  name: string;
  state: string;
  config?: { metadata?: Record<string, string> };
}

export interface FlyOptions {
  /** Base of the API, `https://api.machines.dev/v1`. */
  api: string;
  app: string;
  token: Secret;
  image: string;
  region: string | undefined;
  cpus: number;
  memoryMb: number;
  /** Where a preview answers, `{machine}` and `{app}` filled in. */
  previewUrl: string;
}

/** Machines of one Fly app. */
export class FlyMachines implements Machines {
  readonly provider = "fly";
  readonly #options: FlyOptions;

  constructor(options: FlyOptions) {
    this.#options = options;
  }

  static fromEnvironment(environment: Environment): FlyMachines {
    return new FlyMachines({
      api: environment("FLY_API_URL") || "https://api.machines.dev/v1",
      app: required(environment, "FLY_APP"),
      token: new Secret(required(environment, "FLY_API_TOKEN")),
      image: required(environment, "FLY_IMAGE"),
      region: environment("FLY_REGION_WANTED") || undefined,
      cpus: seconds(environment, "FLY_CPUS", 1, 1, 16),
      memoryMb: seconds(environment, "FLY_MEMORY_MB", 1024, 256, 32_768),
      previewUrl: environment("FLY_PREVIEW_URL") || "https://{app}.fly.dev/?fly_instance={machine}",
    });
  }

  async ensure(name: string, config: MachineConfig): Promise<Machine> {
    let machine = await this.find(name);
    if (machine?.state === "failed") {
      await this.destroy(machine.id);
      machine = null;
    }
    machine ??= await this.#create(name, config);
    if (machine.state === "stopped" || machine.state === "suspended") await this.start(machine.id);
    await this.#wait(machine.id);
    return { ...machine, state: "started" };
  }

  async find(name: string): Promise<Machine | null> {
    return (await this.list()).find((machine) => machine.name === name) ?? null;
  }

  async list(): Promise<Machine[]> {
    const all = await this.#ask<FlyMachine[]>("listing machines", "GET", `?metadata.managed_by=${MANAGED_BY}`);
    return all.filter((machine) => machine.state !== "destroyed" && machine.state !== "destroying")
      .filter((machine) => machine.config?.metadata?.managed_by === MANAGED_BY)
      .map((machine) => this.#machine(machine));
  }

  async start(id: string): Promise<void> {
    // 412: it is started, or on its way there.
    await this.#ask("starting a machine", "POST", `/${id}/start`, undefined, { accept: [412] });
  }

  async stop(id: string): Promise<void> {
    await this.#ask("stopping a machine", "POST", `/${id}/stop`, { signal: "SIGTERM", timeout: "15s" }, {
      accept: [404, 412],
    });
  }

  async suspend(id: string): Promise<void> {
    await this.#ask("suspending a machine", "POST", `/${id}/suspend`, undefined, { accept: [412] });
  }

  async destroy(id: string): Promise<void> {
    await this.#ask("destroying a machine", "DELETE", `/${id}?force=true`, undefined, { accept: [404] });
  }

  async #create(name: string, config: MachineConfig): Promise<Machine> {
    const body = { name, region: this.#options.region, config: this.config(config) };
    try {
      return this.#machine(await this.#ask<FlyMachine>("creating a machine", "POST", "", body));
    } catch (error) {
      // A try before this one, whose answer was lost, or another caller made it: names are unique.
      const taken = error instanceof Answered && (error.status === 409 || error.status === 422);
      const machine = taken ? await this.find(name) : null;
      if (!machine) throw error;
      return machine;
    }
  }

  /** The machine's configuration: what runs, how large, how it is reached, watched, measured, restarted and stopped. */
  config(config: MachineConfig): Record<string, unknown> {
    return {
      image: this.#options.image,
      env: config.env,
      guest: { cpu_kind: "shared", cpus: this.#options.cpus, memory_mb: this.#options.memoryMb },
      services: [{
        protocol: "tcp",
        internal_port: 3001,
        ports: [{ port: 80, handlers: ["http"], force_https: true }, { port: 443, handlers: ["http", "tls"] }],
        autostop: "suspend",
        autostart: true,
      }],
      checks: {
        ready: {
          type: "http",
          port: 9464,
          method: "GET",
          path: "/readyz",
          interval: "15s",
          timeout: "2s",
          grace_period: "60s",
        },
      },
      metrics: { port: 9464, path: "/metrics" },
      restart: { policy: "on-failure", max_retries: 5 },
      stop_config: { signal: "SIGTERM", timeout: "15s" },
      metadata: { managed_by: MANAGED_BY, session_id: config.sessionId },
    };
  }

  async #wait(id: string): Promise<void> {
    // Longer than the wait itself, so that Fly's own answer (408) is the one that comes.
    await this.#ask("waiting for a machine", "GET", `/${id}/wait?state=started&timeout=${WAIT}`, undefined, {
      timeout: (WAIT + 10) * 1000,
    });
  }

  #machine(machine: FlyMachine): Machine {
    const { app, previewUrl } = this.#options;
    return {
      id: machine.id,
      name: machine.name,
      state: stateOf(machine.state),
      sessionId: machine.config?.metadata?.session_id ?? null,
      url: previewUrl.replace("{app}", app).replace("{machine}", machine.id),
    };
  }

  async #ask<T>(
    operation: string,
    method: string,
    path: string,
    body?: unknown,
    more: Partial<Asking> = {},
  ): Promise<T> {
    const { api, app, token } = this.#options;
    const init: RequestInit = {
      method,
      headers: { authorization: `Bearer ${token.reveal()}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    };
    return await ask({ operation, ...more }, () => [`${api}/apps/${app}/machines${path}`, init], async (response) => {
      const text = await response.text();
      return (text === "" ? null : JSON.parse(text)) as T;
    });
  }
}

function stateOf(state: string): MachineState {
  switch (state) {
    case "started":
    case "suspended":
    case "stopped":
    case "failed":
      return state;
    default:
      return "starting";
  }
}
