import { App } from './app'
import './styles/base.css'
import './styles/layout.css'
import './styles/panes.css'
import './styles/activity.css'
import './styles/dialogs.css'
import './styles/narrow.css'

const root = document.getElementById('app')
if (root) new App(root)
