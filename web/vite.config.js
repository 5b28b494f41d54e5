import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const source = (path) => fileURLToPath(new URL(path, import.meta.url))

// The result is committed and built into the binary: fixed names, and the same bytes from the same sources.
export default defineConfig({
  base: './',
  publicDir: 'public',
  resolve: {
    // The package's sources, so that the console needs no build of it. They import no package at run time.
    alias: { '@preview-agent/project-files': source('../clients/project-files/src/index.ts') },
  },
  build: {
    outDir: process.env.CONSOLE_OUT ?? 'dist',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/console.js',
        assetFileNames: 'assets/console[extname]',
        codeSplitting: false,
      },
    },
  },
})
